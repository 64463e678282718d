"""Seeded damage of a file's bytes, and the errors of reading it."""

from __future__ import annotations

import random
from collections.abc import Callable

from archc.compiler.errors import BuildError


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Return data with a byte changed, a part removed, repeated or moved, or its end cut."""
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(damaged) if draw.random() < 0.5 else min(len(damaged), 400))
        length = draw.choice([1, 1, 2, 7, 100])
        kind = draw.randrange(5)
        if kind == 0:
            damaged[at] = draw.randrange(256)
        elif kind == 1:
            del damaged[at : at + length]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 3:
            damaged[at : at + length] = draw.randbytes(length)
        elif at > 0:
            del damaged[at:]
    return bytes(damaged)


def refusal(read: Callable[[], None]) -> str | None:
    """Return the message of the BuildError that a call raises, or None if it raises none."""
    try:
        read()
    except BuildError as error:
        return str(error)
    return None
