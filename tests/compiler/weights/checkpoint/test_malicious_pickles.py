"""Pickles that are meant to do harm: each is refused by a message that names its content, and nothing is run."""

from __future__ import annotations

import os
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.checkpoint.pickled import opcodes as pickle_opcodes
from tests.compiler.weights.checkpoint.pickles import (
    BIN,
    archive,
    integer,
    legacy,
    name,
    numbers,
    storage,
    table,
    tensor,
    text,
)


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def refuses(folder: Path, data: bytes, *words: str) -> None:
    (folder / BIN).write_bytes(data)
    with pytest.raises(BuildError) as caught:
        open_weights(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder / BIN))
    assert all(word in message for word in words), message
    assert ";" in message, "no remedy"


def test_the_tools_of_these_tests_write_readable_files(tmp_path: Path) -> None:
    numbers = torch.arange(6.0).reshape(2, 3)
    for form in (archive, legacy):
        (tmp_path / BIN).write_bytes(form(table(a=tensor()), bytes(numbers.view(torch.uint8).flatten().tolist())))
        assert torch.equal(open_weights(tmp_path).read("a"), numbers)


@pytest.mark.parametrize("form", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "shown"),
    [
        pytest.param(os.system, "touch {}", "'posix.system'", id="os.system"),
        pytest.param(eval, "open('{}', 'w')", ".eval'", id="eval"),
        pytest.param(exec, "open('{}', 'w')", ".exec'", id="exec"),
        pytest.param(torch.hub.load, "{}", "'torch.hub.load'", id="torch.hub.load"),
        pytest.param(torch.jit.load, "{}", ".load'", id="torch.jit.load"),
        pytest.param(getattr, "{}", ".getattr'", id="getattr"),
        pytest.param(__import__, "{}", ".__import__'", id="import"),
    ],
)
def test_a_call_is_refused_by_its_name(
    function: Callable[..., object], arguments: str, shown: str, protocol: int, form: bool, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    value = {"a": torch.ones(2), "b": Calls(function, arguments.format(marker))}
    torch.save(value, tmp_path / BIN, pickle_protocol=protocol, _use_new_zipfile_serialization=form)
    refuses(tmp_path, (tmp_path / BIN).read_bytes(), shown, "nothing was run")
    assert not marker.exists()


SYSTEM = name("os.system")
TOUCH = b"(" + text("touch marker") + b"t"


@pytest.mark.parametrize("form", [archive, legacy], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(SYSTEM + TOUCH + b"R", "'os.system'", id="global-reduce"),
        pytest.param(text("os") + text("system") + b"\x93" + TOUCH + b"R", "'os.system'", id="stack-global"),
        pytest.param(integer(1) + text("system") + b"\x93", "a name that is not a text", id="stack-global-number"),
        pytest.param(b"(" + text("touch marker") + b"ios\nsystem\n", "'os.system'", id="inst"),
        pytest.param(b"(icollections\nOrderedDict\n", "'collections.OrderedDict'", id="inst-of-the-list"),
        pytest.param(b"(" + name("collections.OrderedDict") + b"o", "opcode OBJ", id="obj"),
        pytest.param(name("collections.OrderedDict") + b")\x81", "opcode NEWOBJ", id="newobj"),
        pytest.param(name("collections.OrderedDict") + b")}\x92", "opcode NEWOBJ_EX", id="newobj-ex"),
        pytest.param(b"\x82\x01", "opcode EXT1", id="ext1"),
        pytest.param(b"\x83\x01\x01", "opcode EXT2", id="ext2"),
        pytest.param(b"\x84\x01\x01\x01\x01", "opcode EXT4", id="ext4"),
        pytest.param(b"P0\n", "opcode PERSID", id="persid"),
        pytest.param(b"2", "opcode DUP", id="dup"),
        pytest.param(b"\x97", "opcode NEXT_BUFFER", id="buffer"),
        pytest.param(b"I1\n", "opcode INT", id="text-integer"),
        pytest.param(b"\xfe", "opcode 0xfe", id="no-opcode"),
        pytest.param(name("torch.FloatStorage") + b")R", "a call of torch.FloatStorage", id="call-of-a-storage"),
        pytest.param(text("os.system") + TOUCH + b"R", "a call of str", id="call-of-a-text"),
        pytest.param(name("collections.OrderedDict") + b"}R", "a call of collections.OrderedDict", id="no-arguments"),
        pytest.param(name("collections.OrderedDict") + b"(" + SYSTEM, "'os.system'", id="as-an-argument"),
        pytest.param(name("collections.OrderedDict") + b"](K\x01e\x85R", "items that are not pairs", id="no-pairs"),
        pytest.param(name("torch.Size") + b"K\x01\x85R", "not a list of sizes", id="size-of-a-number"),
        pytest.param(name("torch.float32") + b"}b", "attributes of something", id="build-on-a-name"),
        pytest.param(b"]K\x01K\x02s", "not a table", id="item-of-a-list"),
        pytest.param(b"}K\x01a", "not a list", id="append-to-a-table"),
        pytest.param(b"t", "without its beginning", id="no-mark"),
        pytest.param(b"h\x09", "reference to value 9", id="no-memo"),
        pytest.param(b"]r\xff\xff\xff\xff", "a reference with number 4294967295", id="memo-index"),
        pytest.param(b"\x80\x09", "pickle protocol 9", id="protocol"),
        pytest.param(b"\x8a\xff" + bytes(255), "an integer of 255 bytes", id="long-integer"),
        pytest.param(b"\x8b\xff\xff\xff\xff", "an integer of 4294967295 bytes", id="absurd-integer"),
        pytest.param(b"\x8d" + b"\xff" * 8, "an end within an operation", id="absurd-text"),
        pytest.param(b"X\x02\x00\x00\x00\xff\xfe", "not UTF-8", id="text-not-utf-8"),
        pytest.param(b"c" + b"a" * 500 + b"\nb\n", "a line of more than", id="long-name"),
        pytest.param(b"cos\n\x1b[31m\n", "os.", id="control-characters"),
        pytest.param(tensor(storage(kind="os.system")), "'os.system'", id="storage-type"),
        pytest.param(tensor(storage(kind="torch.Size")), "persistent id that is not a storage", id="storage-no-type"),
        pytest.param(integer(3) + b"Q", "persistent id that is not a storage", id="persistent-number"),
        pytest.param(b"(" + text("module") + b"tQ", "a whole pickled module", id="persistent-module"),
        pytest.param(tensor(storage(count=-6)), "persistent id that is not a storage", id="storage-negative"),
        pytest.param(tensor(storage(count=2**100)), "persistent id that is not a storage", id="storage-absurd"),
        pytest.param(tensor(offset=-1), "sizes, strides or offset", id="offset-negative"),
        pytest.param(tensor(offset=1), "is larger than its storage of 24 bytes", id="offset-past-the-end"),
        pytest.param(tensor(shape=(2, 4)), "is larger than its storage of 24 bytes", id="shape-too-large"),
        pytest.param(tensor(shape=(2**40, 2**40)), "is larger than its storage", id="shape-absurd"),
        pytest.param(tensor(shape=(2**70, 1)), "integers from 0 to 2^62", id="shape-overflows"),
        pytest.param(tensor(shape=(-2, 3)), "sizes, strides or offset", id="shape-negative"),
        pytest.param(tensor(stride=(4, 1)), "is larger than its storage of 24 bytes", id="stride-too-large"),
        pytest.param(tensor(stride=(-3, 1)), "sizes, strides or offset", id="stride-negative"),
        pytest.param(tensor(stride=(1,)), "2 axes and 1 strides", id="stride-missing"),
        pytest.param(tensor(shape=(1,) * 65, stride=(1,) * 65), "65 axes", id="many-axes"),
        pytest.param(
            name("torch._utils._rebuild_tensor_v2") + b")R", "not a storage, offset, shape and stride", id="no-storage"
        ),
        pytest.param(name("torch._utils._rebuild_parameter") + b")R", "a parameter that is not", id="no-parameter"),
        pytest.param(
            name("torch._tensor._rebuild_from_type_v2")
            + b"(" + name("collections.OrderedDict") + name("torch.Tensor") + b")}tR",
            "a tensor of a class of its own", id="type-of-its-own",
        ),
    ],
)  # fmt: skip
def test_every_operation_is_refused_by_name(
    value: bytes, shown: str, form: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    refuses(tmp_path, form(table(a=tensor(), b=value)), shown)
    assert not Path("marker").exists()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        pytest.param(b"", "got other data", id="empty"),
        pytest.param(b"cos\nsystem\n(S'touch marker'\ntR.", "got other data", id="protocol-0"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", id="git-lfs"),
        pytest.param(b"storages" + bytes(249) + b"ustar" + bytes(250), "the tar form of torch 0.1", id="tar"),
        pytest.param(b"\x80\x02}" + text("a") + b"K\x01s.", "no header of torch.save", id="plain-pickle"),
        pytest.param(b"PK\x03\x04", "the ZIP directory at the end is missing", id="zip-truncated"),
        pytest.param(archive(table(a=tensor()))[:-30], "the ZIP directory", id="zip-cut"),
        pytest.param(archive(table(a=tensor()), method=zipfile.ZIP_DEFLATED), "is compressed", id="compressed"),
        pytest.param(archive(table(a=tensor(storage("1")))), "'archive/data/1' is missing", id="storage-missing"),
        pytest.param(archive(table(a=tensor(storage("../../x")))), "is missing", id="storage-climbs"),
        pytest.param(archive(table(a=tensor(storage(count=7)))), "7 elements of F32 in 24 bytes", id="count-lies"),
        pytest.param(archive(table(a=tensor()), byteorder=b"big"), "big-endian data is not supported", id="big-endian"),
        pytest.param(legacy(table(a=tensor()), system=b"\x89"), "big-endian data", id="legacy-big-endian"),
        pytest.param(legacy(table(a=tensor()), count=7), "storage 0 is not within the file", id="legacy-count"),
        pytest.param(legacy(table(a=tensor()), bytes(20)), "storage 0 is not within the file", id="legacy-cut"),
        pytest.param(legacy(table(a=tensor()), keys="1"), "a list of storages that differs", id="legacy-keys"),
        pytest.param(
            legacy(table(a=tensor(), b=tensor(storage(count=5)))), "a storage of two sizes", id="legacy-two-sizes"
        ),
    ],
)
def test_files_that_are_not_of_torch_save(data: bytes, shown: str, tmp_path: Path) -> None:
    refuses(tmp_path, data, shown)


def test_a_member_whose_sizes_lie(tmp_path: Path) -> None:
    plain = archive(table(a=tensor()))
    at = plain.rindex(b"PK\x01\x02", 0, plain.rindex(b"archive/data/0"))
    lies = plain[: at + 20] + struct.pack("<II", 2**31, 2**31) + plain[at + 28 :]
    refuses(tmp_path, lies, "'archive/data/0' is not within the file")
    far = plain[: at + 42] + struct.pack("<I", 2**31) + plain[at + 46 :]
    refuses(tmp_path, far, "it ends early")


MANY = 1_100_000
TABLE_OF_A_LIST = name("collections.OrderedDict") + b"h\x00\x85R"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"]" * MANY, id="many-lists"),
        pytest.param(b"(" * MANY, id="many-marks"),
        pytest.param(b"]" + b"\x85" * MANY, id="deep-tuples"),
        pytest.param(b"}" + b"q\x00" * MANY, id="many-references"),
        pytest.param(b")q\x00" + b"h\x00h\x00\x86q\x00" * 400_000, id="doubling-tuples"),
        pytest.param(b"](" + b"]]\x86" * 300_000 + b"eq\x00" + TABLE_OF_A_LIST * 20_000, id="tables-of-one-list"),
    ],
)
def test_a_pickle_that_grows_is_bounded_in_time(value: bytes, tmp_path: Path) -> None:
    start = time.monotonic()
    refuses(tmp_path, archive(b"\x80\x02" + value), "the pickle has")
    assert time.monotonic() - start < 10


def test_nested_values_need_no_stack(tmp_path: Path) -> None:
    deep = b"]" + b"\x85" * 200_000
    (tmp_path / BIN).write_bytes(archive(table(a=tensor(), b=deep)))
    assert open_weights(tmp_path).shape("a") == (2, 3)


def test_operations_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_opcodes, "MAX_OPERATIONS", 100)
    refuses(tmp_path, archive(table(a=tensor(), b=b"K\x010" * 200)), "opcode POP")
    refuses(tmp_path, archive(table(a=tensor(), b=b"]" + b"K\x01a" * 200)), "more than 100 operations")
    refuses(tmp_path, archive(table(a=tensor(), b=numbers((1,) * 200))), "more than 100 operations")


def test_names_that_are_not_texts_are_no_tensors(tmp_path: Path) -> None:
    items = tensor() + b"s" + integer(5) + tensor() + b"s" + b"K\x01K\x02\x86" + tensor() + b"s"
    (tmp_path / BIN).write_bytes(archive(b"\x80\x02}" + text("a") + items + b"."))
    assert list(open_weights(tmp_path).names()) == ["a"]
