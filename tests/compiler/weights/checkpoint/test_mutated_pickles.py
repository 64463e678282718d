"""Files of torch.save with random bytes changed: they are read, or refused by one error, in bounded time."""

from __future__ import annotations

import random
import resource
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from tests.compiler.weights.checkpoint.pickles import BIN

_MEMORY_KIB = 1_200 * 1024


def originals(folder: Path) -> list[bytes]:
    base = torch.arange(12.0).reshape(3, 4)
    state = OrderedDict(a=base, b=base.t(), c=torch.nn.Parameter(base[0].clone()), d=torch.arange(3), e=base.half())
    values = ((state, True), (state, False), ({"model": state, "optimizer": {"lr": [1e-3, None]}, "step": 3}, True))
    files = []
    for value, form in values:
        torch.save(value, folder / BIN, _use_new_zipfile_serialization=form)
        files.append((folder / BIN).read_bytes())
    return files


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


def check(data: bytes, folder: Path) -> bool:
    """Return whether a file is read; raise anything but BuildError."""
    (folder / BIN).write_bytes(data)
    start = time.monotonic()
    try:
        weights = open_weights(folder)
        for name in weights.names():
            if weights.bytes(name) < 2**20:
                weights.read(name)
        return True
    except BuildError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert BIN in str(error)  # noqa: PT017
        return False
    finally:
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "count", [pytest.param(300, id="300"), pytest.param(10_000, id="10000", marks=pytest.mark.slow)]
)
def test_only_clear_errors(count: int, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = originals(tmp_path)
    random_numbers = random.Random(17)
    read = [check(mutated(random_numbers.choice(files), random_numbers), tmp_path) for _ in range(count)]
    assert 0 < sum(read) < count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < max(before, _MEMORY_KIB)
