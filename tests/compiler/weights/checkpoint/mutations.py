"""Random damage to a file, for tests that a reader refuses it by one error."""

from __future__ import annotations

import random
import time
from pathlib import Path

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config

MEMORY_KIB = 1_200 * 1024
_SECONDS = 10


def mutated(data: bytes, random_numbers: random.Random) -> bytes:
    """Return the data with bytes changed, removed or repeated; most often where pickles and headers are."""
    changed = bytearray(data)
    places = [at for at, byte in enumerate(data) if byte] if random_numbers.random() < 0.8 else range(len(data))
    for _ in range(random_numbers.choice((1, 1, 1, 2, 5))):
        at = random_numbers.choice(places) % len(changed)
        match random_numbers.randrange(5):
            case 0:
                changed[at] = random_numbers.randrange(256)
            case 1:
                changed[at] ^= 1 << random_numbers.randrange(8)
            case 2:
                del changed[at : at + random_numbers.choice((1, 4, 64))]
            case 3:
                changed[at:at] = changed[at : at + random_numbers.choice((1, 8, 200))]
            case 4:
                changed[at : at + 4] = random_numbers.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
        if not changed:
            break
    return bytes(changed)


def is_read(data: bytes, file: Path, checkpoint: Path) -> bool:
    """Return whether a file with this data is read; raise anything but a BuildError that names it."""
    file.write_bytes(data)
    start = time.monotonic()
    try:
        read_checkpoint_config(checkpoint)
        weights = open_weights(checkpoint)
        for name in weights.names():
            if weights.bytes(name) < 2**20:
                weights.read(name)
        return True
    except BuildError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert file.name in str(error)  # noqa: PT017
        return False
    finally:
        assert time.monotonic() - start < _SECONDS
