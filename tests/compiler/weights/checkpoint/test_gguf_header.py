"""Headers of GGUF files: damaged ones, and files in parts, written with the package gguf."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights, read_checkpoint_config
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES
from tests.compiler.weights.checkpoint.gguf_files import write

LLAMA = ARCHITECTURES[0]
HEAD = b"GGUF" + struct.pack("<I", 3)
ONE_KEY, ONE_TENSOR = HEAD + struct.pack("<QQ", 0, 1), HEAD + struct.pack("<QQ", 1, 0)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "expected a GGUF file, got other data", id="empty"),
        pytest.param(b"GGML" + bytes(100), "expected a GGUF file, got other data", id="magic"),
        pytest.param(b"GGUF", "it ends within its header", id="magic-alone"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1 is not supported", id="version-1"),
        pytest.param(b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "expected 2 or 3, little-endian", id="big-endian"),
        pytest.param(HEAD + struct.pack("<QQ", 2**60, 0), "1152921504606846976 tensors", id="tensors-absurd"),
        pytest.param(HEAD + struct.pack("<QQ", 0, 2**60), "1152921504606846976 keys", id="keys-absurd"),
        pytest.param(HEAD + struct.pack("<QQQ", 0, 1, 2**60), "a text of 1152921504606846976 bytes", id="text-absurd"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<I", 77), "a value of type 77", id="type"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<IIQ", 9, 8, 2**60), "lists of", id="list-absurd"),
        pytest.param(ONE_KEY + text(b"a") + struct.pack("<IIQ", 9, 9, 1), "a value of type 9", id="lists"),
        pytest.param(
            HEAD + struct.pack("<QQ", 0, 2) + (text(b"a") + struct.pack("<IB", 7, 1)) * 2, "'a' appears twice", id="key"
        ),
        pytest.param(ONE_TENSOR + text(b"a") + struct.pack("<I", 99), "has 99 axes", id="axes"),
        pytest.param(
            ONE_TENSOR + text(b"a") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0), "has the shape", id="shape"
        ),
    ],
)
def test_damaged_headers(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(BuildError, match=re.escape(message)) as caught:
        build(path, out=tmp_path / "engine.plan")
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(b"blk.0.ffn_up.weight", (2**60, 0), id="no-columns"),
        pytest.param(b"blk.0.ffn_up_exps.weight", (2**20, 1, 1), id="many-experts"),
        pytest.param(b"blk.0.ffn_up.weight", (2**30, 2**20), id="past-the-end"),
    ],
)
def test_shapes_that_lie(name: bytes, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    architecture = text(b"general.architecture") + struct.pack("<I", 8) + text(b"qwen3moe")
    axes = b"".join(struct.pack("<Q", size) for size in reversed(shape))
    header = HEAD + struct.pack("<QQ", 1, 1) + architecture + text(name) + struct.pack("<I", len(shape)) + axes
    path.write_bytes(header + struct.pack("<IQ", 0, 0) + bytes(2**22 + 100))
    with pytest.raises(BuildError, match=re.escape(f"tensor '{name.decode()}'")):
        open_weights(path)


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Return the parts of one file."""
    write(tmp_path / "model.gguf", LLAMA, LLAMA.build(), parts=8)
    paths = sorted(tmp_path.glob("*.gguf"))
    assert [path.name for path in paths] == [f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    return paths


@pytest.mark.parametrize("number", [0, 1, 2])
def test_any_part_opens_all(parts: list[Path], number: int, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf", LLAMA, LLAMA.build())
    weights, expected = open_weights(parts[number]), open_weights(whole)
    assert set(weights.names()) == set(expected.names())
    assert all(weights.read(name).equal(expected.read(name)) for name in expected.names())
    assert read_checkpoint_config(parts[number]) == read_checkpoint_config(whole)


def test_the_folder_of_parts_and_a_part_give_one_plan(parts: list[Path], tmp_path: Path) -> None:
    plans = [
        build(where, out=tmp_path / f"{number}.plan", warn=lambda message: None).read_bytes()
        for number, where in enumerate((parts[0].parent, parts[2]))
    ]
    assert plans[0] == plans[1]


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(BuildError, match=r"model-00002-of-00003\.gguf: not found, part 2 of 3 of a GGUF file"):
        open_weights(parts[2])


def test_a_part_under_another_name(parts: list[Path]) -> None:
    other = parts[0].rename(parts[0].with_name("other.gguf"))
    with pytest.raises(BuildError, match=r"other\.gguf: one of 3 parts, whose name does not end in"):
        open_weights(other)


def test_parts_that_changed_places(parts: list[Path]) -> None:
    data = parts[1].read_bytes()
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(BuildError, match=r"00002-of-00003\.gguf: expected part 2 of 3 by its name"):
        open_weights(parts[0])
    parts[1].write_bytes(data)
    open_weights(parts[0])
