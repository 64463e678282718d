"""Random damage to a file, for tests that a reader refuses it by one error, in bounded time and memory."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from archc.error import Error

# Of 1.2 GB for a process, half is imports and what other tests left.
GROWTH_KIB = 600 * 1024
SECONDS = 10
_HEADER = 400
# Lengths at their largest, broken UTF-8, and values that no field of a text has.
_BYTES = (
    b"\xff" * 4,
    bytes(4),
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\xff\xff\xff\xff\x0f",
    b"\0",
    b"\xc3(",
    b"\xed\xa0\x80",
)
_VALUES = (
    *("-1", "0", "1e999", "-1e400", "9" * 30, "9" * 5000, "2147483648", "4294967295", "0.5", "NaN", "null", "true"),
    *('""', '"\\ud800"', '"\\u0000"', "[]", "{}", "[" * 3000, '{"a":' * 3000, "[[1]]", '{"content": 3}'),
)
_TEXT_VALUE = re.compile(rb'-?\d[\d.e+-]*|"[^"\n]{0,80}"|true|false|null|\[[^\[\]]{0,200}\]')


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Check that the process, which may have run other tests, grows by at most GROWTH_KIB."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # VmHWM, the peak, begins again
    before = _memory("VmRSS")
    yield
    assert _memory("VmHWM") - before <= GROWTH_KIB


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Return the data with bytes changed, removed or repeated, lengths at their largest, or values replaced."""
    changed = bytearray(data)
    places = [at for at, byte in enumerate(data) if byte] if draw.random() < 0.5 else range(len(data))
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        if not changed:
            break
        at = draw.choice(places) % len(changed)
        if draw.random() < 0.3:
            at %= _HEADER
        length = draw.choice((1, 1, 4, 8, 64, 200))
        match draw.randrange(8):
            case 0:
                changed[at % len(changed)] = draw.randrange(256)
            case 1:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case 4:
                value = draw.choice(_BYTES)
                changed[at : at + len(value)] = value
            case 5:
                changed[at : at + length] = draw.randbytes(length)
            case 6 if draw.random() < 0.2:
                del changed[at:]
            case 7:
                _replace_value(changed, at, draw)
    return bytes(changed)


def _replace_value(changed: bytearray, at: int, draw: random.Random) -> None:
    """Replace the first value after a place, as JSON and tables have them, by one of another kind or size."""
    found = _TEXT_VALUE.search(changed, at)
    if found is not None:
        changed[found.start() : found.end()] = draw.choice(_VALUES).encode()


def refusal(read: Callable[[], None]) -> str | None:
    """Return the message of the error that a reader raises, or None if it raises none.

    Any other exception passes, and more than SECONDS or a message of several lines fails.
    """
    start = time.process_time()
    message = None
    try:
        read()
    except Error as error:
        message = str(error)
    assert time.process_time() - start < SECONDS
    assert message is None or "\n" not in message
    return message
