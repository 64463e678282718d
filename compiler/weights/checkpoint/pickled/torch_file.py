"""Files of torch.save as data: the pickled value, and the place of each storage in the file.

There are two forms: since torch 1.6, a ZIP file with a member for each storage; before, pickles followed by storages.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from archc.compiler.errors import BuildError
from archc.compiler.files.stamp import file_stamp
from archc.compiler.weights.checkpoint.pickled.names import NAMES, Storage, storage_of
from archc.compiler.weights.checkpoint.pickled.opcodes import MAX_BYTES, PickleError, PickleReader
from archc.compiler.weights.checkpoint.pickled.zip_directory import MAGIC, ZipFile, open_zip
from archc.compiler.weights.checkpoint.weights import BITS

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_PROTOCOL_VERSION = 1001
_TAR_MAGIC = slice(257, 262)


@dataclass(frozen=True)
class TorchFile:
    """A file of torch.save: its value, the offset and size in bytes of each storage by key, and size and time."""

    path: Path
    value: object
    storages: Mapping[str, tuple[int, int]]
    stamp: tuple[int, int]


def read_torch_file(path: Path) -> TorchFile:
    """Return what a file of torch.save holds; no storage is read, and nothing is imported or called.

    Raises BuildError for a damaged file, and for one that refers to anything but tables of tensors.
    """
    try:
        with path.open("rb") as file:
            stamp = file_stamp(file)
            start = file.read(512)
            if start.startswith(MAGIC):
                value, storages = _read_zip(path, file, stamp[0])
            else:
                _refuse_other_files(path, start)
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    value, storages = _read_legacy(path, data)
    except PickleError as error:
        raise BuildError(
            f"{path}: the pickle has {error}, expected tables of tensors only; nothing was run; use a file that "
            "torch.save wrote from a state_dict, or the safetensors files of the checkpoint"
        ) from None
    except OSError as error:
        raise BuildError(f"{path}: cannot be read: {error.strerror}; check the file and its permissions") from None
    return TorchFile(path, value, storages, stamp)


def _refuse_other_files(path: Path, start: bytes) -> None:
    if start[_TAR_MAGIC] == b"ustar":
        raise BuildError(f"{path}: the tar form of torch 0.1 is not supported; save it again with a newer torch.save")
    if start.startswith(b"version https://git-lfs"):
        raise BuildError(f"{path}: a Git LFS pointer, not the file itself; run git lfs pull in the folder")
    if not start.startswith(b"\x80"):
        raise BuildError(f"{path}: expected a file of torch.save, got other data; download it again")


def _read_zip(path: Path, file: BinaryIO, size: int) -> tuple[object, dict[str, tuple[int, int]]]:
    archive = open_zip(path, file, size)
    names = [name for name in archive.members if PurePosixPath(name).name == "data.pkl" and name.count("/") == 1]
    if len(names) != 1:
        raise BuildError(f"{path}: a ZIP file without data.pkl, expected a file of torch.save; download it again")
    root = names[0].removesuffix("data.pkl")
    if any(name in archive.members for name in (f"{root}constants.pkl", f"{root}code/")):
        raise BuildError(f"{path}: TorchScript is not supported; save the state_dict of the model with torch.save")
    if f"{root}byteorder" in archive.members:
        order = _member_bytes(archive, f"{root}byteorder", 16)
        _check_order(path, order == b"little")
    storages: dict[str, tuple[int, int]] = {}

    def load(persistent_id: object) -> Storage:
        storage = storage_of(persistent_id)
        if storage.key not in storages:
            storages[storage.key] = archive.find(f"{root}data/{storage.key}")
        _check_size(storage, storages[storage.key][1])
        return storage

    data = _member_bytes(archive, names[0], MAX_BYTES)
    return PickleReader(data, 0, NAMES, load).read(), storages


def _member_bytes(archive: ZipFile, name: str, limit: int) -> bytes:
    offset, size = archive.find(name)
    if size > limit:
        raise PickleError(f"{size} bytes in '{name}', more than {limit}")
    archive.file.seek(offset)
    return archive.file.read(size)


def _read_legacy(path: Path, data: mmap.mmap) -> tuple[object, dict[str, tuple[int, int]]]:
    loaded: dict[str, Storage] = {}

    def load(persistent_id: object) -> Storage:
        storage = storage_of(persistent_id)
        first = loaded.setdefault(storage.key, storage)
        if (first.dtype, first.count) != (storage.dtype, storage.count):
            raise PickleError("a storage of two sizes")
        return storage

    position = 0
    values = []
    for _ in range(5):
        reader = PickleReader(data, position, NAMES, load)
        values.append(reader.read())
        position = reader.position
        if len(values) == 1 and values[0] != _MAGIC_NUMBER:
            raise PickleError("no header of torch.save")
    _, version, system, value, keys = values
    if version != _PROTOCOL_VERSION or not isinstance(system, dict) or not isinstance(keys, list):
        raise PickleError("a header of torch.save that is damaged")
    _check_order(path, system.get("little_endian") is True)
    storages: dict[str, tuple[int, int]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in loaded or key in storages:
            raise PickleError("a list of storages that differs from the storages of its tensors")
        size = loaded[key].count * BITS[loaded[key].dtype] // 8
        start = position + 8
        if start + size > len(data) or int.from_bytes(data[position:start], "little") != loaded[key].count:
            raise BuildError(f"{path}: storage {key} is not within the file; download it again")
        storages[key] = (start, size)
        position = start + size
    if len(storages) != len(loaded):
        raise PickleError("a list of storages that differs from the storages of its tensors")
    return value, storages


def _check_order(path: Path, little: bool) -> None:
    if not little:
        raise BuildError(
            f"{path}: big-endian data is not supported; save the checkpoint again on a little-endian computer"
        )


def _check_size(storage: Storage, size: int) -> None:
    if storage.count * BITS[storage.dtype] // 8 > size:
        raise PickleError(f"a storage of {storage.count} elements of {storage.dtype} in {size} bytes")
