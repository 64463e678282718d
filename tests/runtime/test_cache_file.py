"""Files with the state of a prompt: damage is an error, and never another answer."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from archc.runtime.errors import EngineError
from archc.runtime.serving.cache_file import CachedPrompt, Layout, read_cache, write_cache

PLAN = "0" * 64


def layout(length: int) -> Layout:
    return {"k": ((length, 2), np.dtype(np.float32)), "s": ((3,), np.dtype(np.uint16))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    k, s = np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(3, dtype=np.uint16)
    path = tmp_path / "prompt.cache"
    assert write_cache(path, PLAN, CachedPrompt((7, 8, 9, 10, 11), {"k": k, "s": s})) == path.stat().st_size
    return path


def test_a_file_has_its_state(file: Path) -> None:
    cached = read_cache(file, PLAN, layout)
    assert cached.tokens == (7, 8, 9, 10, 11)
    assert cached.arrays["k"].tolist() == np.arange(10.0).reshape(5, 2).tolist()
    assert cached.arrays["s"].tolist() == [0, 1, 2]


def test_mutations_are_errors(file: Path, tmp_path: Path) -> None:
    data, rng = file.read_bytes(), random.Random(0)
    damaged = tmp_path / "damaged"
    for count in range(400):
        changed = bytearray(data)
        match count % 4:
            case 0:
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del changed[rng.randrange(len(data)) :]
            case 2:
                at = rng.randrange(len(data))
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case _:
                changed[8:16] = rng.randbytes(8)  # the length of the header
        damaged.write_bytes(changed)
        with pytest.raises(EngineError, match=r"damaged; write it again|no cache of a prompt"):
            read_cache(damaged, PLAN, layout)


def test_files_of_another_plan_are_refused(file: Path) -> None:
    with pytest.raises(EngineError, match="the cache of another plan"):
        read_cache(file, "1" * 64, layout)


def test_arrays_of_other_sizes_are_refused(file: Path) -> None:
    with pytest.raises(EngineError, match="damaged"):
        read_cache(file, PLAN, lambda length: {"k": ((length, 2**40), np.dtype(np.float32))})


def test_other_files_stay(tmp_path: Path) -> None:
    other = tmp_path / "notes"
    other.write_text("Important.")
    with pytest.raises(EngineError, match="exists, and is no cache of a prompt"):
        write_cache(other, PLAN, CachedPrompt((), {}))
    assert other.read_text() == "Important."
    with pytest.raises(EngineError, match="no such file"):
        read_cache(tmp_path / "none", PLAN, layout)
    with pytest.raises(EngineError, match="No such file or directory"):
        write_cache(tmp_path / "none" / "x", PLAN, CachedPrompt((), {}))
