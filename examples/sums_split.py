"""The sums of the example checkpoint: which exist, and which of them no training text ever showed.

The rule is a hash of the unordered pair, so `a+b` and `b+a` are always on the same side of the split and no held-out
sum can be read off its mirror image. Only the standard library is needed.
"""

import hashlib
from itertools import product

LIMIT = 100  # operands are 0 .. LIMIT - 1
HELD_OUT_SHARE = 0.18

Pair = tuple[int, int]


def is_held_out(a: int, b: int) -> bool:
    """Return whether the sums a+b and b+a are excluded from training."""
    key = f"{min(a, b)}+{max(a, b)}".encode()
    fraction = int.from_bytes(hashlib.sha256(key).digest()[:4], "big") / 2**32
    return fraction < HELD_OUT_SHARE


def split_pairs() -> tuple[list[Pair], list[Pair]]:
    """All ordered pairs, as (training, held out)."""
    training: list[Pair] = []
    held_out: list[Pair] = []
    for a, b in product(range(LIMIT), repeat=2):
        (held_out if is_held_out(a, b) else training).append((a, b))
    return training, held_out


def prompt(a: int, b: int) -> str:
    return f"{a}+{b}="


def answer(a: int, b: int) -> str:
    return str(a + b)
