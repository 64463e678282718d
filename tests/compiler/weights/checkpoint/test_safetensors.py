"""Checkpoints that are damaged, or meant to do harm: each is refused, by a message that names file and tensor."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from tests.compiler.weights.checkpoint.files import INDEX, SINGLE, entry, raw, shards

A, B = "one.safetensors", "two.safetensors"


def refuses(folder: Path, *words: str, read: str | None = None) -> None:
    def opened() -> None:
        checkpoint = open_weights(folder)
        assert read is not None, "it was opened"
        checkpoint.check_numbers([read])
        checkpoint.read(read)

    with pytest.raises(BuildError) as caught:
        opened()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_names_shapes_and_numbers(tmp_path: Path) -> None:
    numbers = torch.arange(6.0).reshape(2, 3)
    save_file({"a": numbers, "b": numbers.half()}, tmp_path / SINGLE)
    checkpoint = open_weights(tmp_path)
    assert sorted(checkpoint.names()) == ["a", "b"]
    assert checkpoint.shape("a") == (2, 3)
    assert [checkpoint.dtype(name) for name in ("a", "b")] == ["F32", "F16"]
    assert torch.equal(checkpoint.read("a"), numbers)
    assert checkpoint.read("b").dtype is torch.float16


def test_shards_by_an_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    save_file({"b": torch.zeros(3)}, tmp_path / B)
    shards(tmp_path, {"a": A, "b": B})
    checkpoint = open_weights(tmp_path)
    assert checkpoint.read("a").tolist() == [1, 1]
    assert checkpoint.read("b").tolist() == [0, 0, 0]
    assert checkpoint.read("a").tolist() == [1, 1]


def test_one_file_of_another_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    assert list(open_weights(tmp_path).names()) == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x08\0\0", id="no-length"),
        pytest.param(raw({"a": entry(0, 4, [1])}, b"abcd", length=10**6), id="header-past-the-end"),
        pytest.param(raw({"a": entry(0, 4, [1])}, b"abcd", length=2**63), id="header-of-an-absurd-length"),
        pytest.param(raw({"a": entry(0, 400, [100])}, b"abcd"), id="offsets-past-the-end"),
        pytest.param(raw({"a": entry(8, 4, [1])}, bytes(8)), id="offsets-backwards"),
        pytest.param(raw({"a": entry(-4, 0, [1])}, bytes(8)), id="offsets-negative"),
        pytest.param(raw({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), id="offsets-overlap"),
        pytest.param(raw({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, bytes(8)), id="offsets-shared"),
        pytest.param(raw({"a": entry(0, 8, [3])}, bytes(8)), id="shape-larger-than-data"),
        pytest.param(raw({"a": entry(0, 4, [1])}, bytes(8)), id="data-of-nobody"),
        pytest.param(raw({"a": entry(0, 0, [2**62, 2**62])}, b""), id="shape-overflows"),
        pytest.param(raw({"a": entry(0, 4, [1], "F31")}, bytes(4)), id="unknown-dtype"),
        pytest.param(b"\x04\0\0\0\0\0\0\0nope", id="header-not-json"),
        pytest.param(b"\x80\x02}q\0.", id="a-pickle"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(data)
    refuses(tmp_path, SINGLE, "not a usable safetensors file", read="a")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(100)}, tmp_path / SINGLE)
    whole = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(whole[:-7])
    refuses(tmp_path, SINGLE, read="a")


def test_integers_may_lie_in_a_checkpoint_but_are_no_weights(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "ids": torch.arange(3)}, tmp_path / SINGLE)
    assert open_weights(tmp_path).read("a").tolist() == [1, 1]
    refuses(tmp_path, "ids", "I64", "unquantized", read="ids")
    open_weights(tmp_path).check_numbers(["a"])
    with pytest.raises(BuildError, match="'ids' has dtype I64"):
        open_weights(tmp_path).check_numbers(["a", "ids"])


def test_integers_and_fp8_are_read_as_they_are_stored(tmp_path: Path) -> None:
    packed = torch.arange(6.0).reshape(3, 2).to(torch.float8_e4m3fn)
    save_file({"ids": torch.arange(3), "packed": packed, "bytes": torch.ones(2, dtype=torch.uint8)}, tmp_path / SINGLE)
    checkpoint = open_weights(tmp_path)
    assert [checkpoint.dtype(name) for name in ("ids", "packed", "bytes")] == ["I64", "F8_E4M3", "U8"]
    assert [checkpoint.bytes(name) for name in ("ids", "packed", "bytes")] == [24, 6, 2]
    assert checkpoint.read("ids").tolist() == [0, 1, 2]
    assert torch.equal(checkpoint.read("packed", (slice(1, 3),)).float(), packed[1:].float())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../out.safetensors", id="parent"),
        pytest.param("/etc/out.safetensors", id="absolute"),
        pytest.param("sub/out.safetensors", id="subfolder"),
        pytest.param("..\\out.safetensors", id="backslash"),
        pytest.param("..", id="dots"),
        pytest.param("", id="empty"),
    ],
)
def test_an_index_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "out.safetensors")
    shards(inside, {"a": name})
    refuses(inside, INDEX, "same folder")


def test_an_index_names_safetensors_only(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\x80\x02}q\0.")
    shards(tmp_path, {"a": "weights.bin"})
    refuses(tmp_path, INDEX, "weights.bin")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty-file"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="no-map"),
        pytest.param('{"weight_map": []}', id="map-is-a-list"),
        pytest.param('{"weight_map": {}}', id="empty-map"),
        pytest.param('{"weight_map": {"a": 1}}', id="number-for-a-file"),
        pytest.param("[" * 100_000, id="deeply-nested"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text, "utf-8")
    refuses(tmp_path, INDEX)


def test_a_missing_shard(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    shards(tmp_path, {"a": A, "b": B})
    refuses(tmp_path, B, "not found", "download it")


def test_a_truncated_shard(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    save_file({"b": torch.ones(50)}, tmp_path / B)
    (tmp_path / B).write_bytes((tmp_path / B).read_bytes()[:-1])
    shards(tmp_path, {"a": A, "b": B})
    refuses(tmp_path, B, read="b")


def test_a_name_in_two_shards(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / B)
    shards(tmp_path, {"a": A, "b": B})
    refuses(tmp_path, "'a'", A, B)


def test_an_index_that_puts_a_tensor_where_it_is_not(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    save_file({"b": torch.ones(2)}, tmp_path / B)
    shards(tmp_path, {"a": A, "b": A})
    refuses(tmp_path, f"{INDEX}: the index maps tensor 'b' to '{A}', but that shard does not contain it")
    shards(tmp_path, {"a": B, "b": A})
    refuses(tmp_path, f"{INDEX}: the index maps tensor 'a' to '{B}', but that shard does not contain it")


def test_a_tensor_that_the_index_does_not_know(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / A)
    shards(tmp_path, {"a": A})
    refuses(tmp_path, INDEX, "'b'")


def test_shards_without_an_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / A)
    save_file({"b": torch.ones(2)}, tmp_path / B)
    refuses(tmp_path, INDEX, "2 safetensors files")


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / SINGLE)
    refuses(tmp_path, SINGLE, "not a regular file")


def test_an_empty_folder(tmp_path: Path) -> None:
    refuses(tmp_path, SINGLE, "--random")


def test_a_file_that_changes_under_the_reader(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / SINGLE)
    checkpoint = open_weights(tmp_path)
    (tmp_path / SINGLE).unlink()
    (tmp_path / SINGLE).write_text(json.dumps({}), "utf-8")
    checkpoint._opened = None  # type: ignore[attr-defined]
    with pytest.raises(BuildError, match=re.escape(SINGLE)):
        checkpoint.read("a")
    for changed in (torch.ones(3), torch.ones(2).half()):
        save_file({"a": changed, "b": torch.ones(2)}, tmp_path / SINGLE)
        checkpoint._opened = None  # type: ignore[attr-defined]
        with pytest.raises(BuildError, match="tensor 'a' changed during the build; build again"):
            checkpoint.read("a")


def test_a_part_is_read_at_a_place(tmp_path: Path) -> None:
    save_file({"a": torch.arange(6.0).reshape(3, 2), "none": torch.ones(0, 2)}, tmp_path / SINGLE)
    checkpoint = open_weights(tmp_path)
    assert checkpoint.read("a", (1,)).tolist() == [2, 3]
    assert checkpoint.read("a", (slice(1, 3),)).tolist() == [[2, 3], [4, 5]]
    assert checkpoint.read("none", (slice(0, 0),)).shape == (0, 2)
    for place in ((3,), (slice(2, 4),), (0, 2), (0, 0, 0)):
        with pytest.raises(ValueError, match="out of bounds for axes"):
            checkpoint.read("a", place)
    assert [checkpoint.bytes(name) for name in ("a", "none")] == [24, 0]
