"""Lazy reading of safetensors checkpoints: a single file, or shards with an index.

Headers are read when a checkpoint is opened, a tensor's bytes when it is read. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from archc.archspec.errors import clip as clipped
from archc.compiler.errors import BuildError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_MAX_INDEX_BYTES = 64 * 2**20
# The dtypes that weights may have, by their names in safetensors, and those of packed weights.
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_PACKED_DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
}
_REOPEN_BYTES = 128 * 2**20


Place = tuple[int | slice, ...]
"""A part of a tensor along its first axes: an index, or a range of rows."""


class Weights(Protocol):
    """Named tensors to build from: a checkpoint, or what stands in for one."""

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""

    def dtype(self, name: str) -> torch.dtype | None:
        """Return the dtype of a tensor, as `read` returns it; None if torch has no such dtype."""

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes, in its stored dtype."""

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored."""


@dataclass(frozen=True)
class _Entry:
    file: Path
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """The tensors of a folder's safetensors files by name.

    Raises BuildError if the folder has none, or if files and index contradict each other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, _Entry] = {}
        self._opened: tuple[Path, safe_open] | None = None
        self._unmapped = 0
        index = folder / INDEX
        single = folder / SINGLE
        if index.is_file():
            self._read_index(index)
        elif single.is_file():
            self._read_header(single)
        else:
            files = sorted(folder.glob("*.safetensors"))
            if len(files) != 1:
                raise BuildError(_missing(folder, files))
            self._read_header(files[0])

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""
        return self._entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._entries[name].shape

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored; 0 if torch has no such dtype."""
        dtype = self.dtype(name)
        return 0 if dtype is None else dtype.itemsize * math.prod(self._entries[name].shape)

    def dtype(self, name: str) -> torch.dtype | None:
        """Return the dtype of a tensor, as `read` returns it; None if torch has no such dtype."""
        stored = self._entries[name].dtype
        return _DTYPES.get(stored) or _PACKED_DTYPES.get(stored)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError for a tensor of integers: masks and indices may be, but weights may not."""
        for name in names:
            entry = self._entries[name]
            if entry.dtype not in _DTYPES:
                raise BuildError(
                    f"{entry.file}: tensor '{clipped(name)}' has dtype {entry.dtype}, expected one of "
                    f"{', '.join(_DTYPES)}; use an unquantized version of the checkpoint"
                )

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes, in its stored dtype; only the part is read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        entry = self._entries[name]
        sizes = entry.shape[: len(place)]
        ends = [at.stop if isinstance(at, slice) else at + 1 for at in place]
        if len(sizes) < len(place) or any(end > size for end, size in zip(ends, sizes, strict=True)):
            raise ValueError(f"index {list(place)} is out of bounds for axes {list(sizes)}")
        count = math.prod(at.stop - at.start for at in place if isinstance(at, slice))
        # A memory map keeps pages resident once they were read: one file is open at a time, and not for long.
        self._unmapped += self.bytes(name) * count // max(1, math.prod(sizes))
        if self._opened is None or self._opened[0] != entry.file or self._unmapped > _REOPEN_BYTES:
            self._opened, self._unmapped = (entry.file, _open(entry.file)), 0
        try:
            view = self._opened[1].get_slice(name)
            changed = tuple(view.get_shape()) != entry.shape or view.get_dtype() != entry.dtype
            value: Tensor = view[place] if place else self._opened[1].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BuildError(f"{entry.file}: tensor '{clipped(name)}' cannot be read: {error}") from None
        if changed:
            raise BuildError(f"{entry.file}: tensor '{clipped(name)}' changed during the build; build again")
        return value

    def _read_header(self, file: Path) -> list[str]:
        handle = _open(file)
        names = list(handle.keys())
        for name in names:
            view = handle.get_slice(name)
            if name in self._entries:
                raise BuildError(
                    f"tensor '{clipped(name)}' is in both {self._entries[name].file} and {file}; "
                    "use shards of a single checkpoint"
                )
            self._entries[name] = _Entry(file, tuple(view.get_shape()), view.get_dtype())
        return names

    def _read_index(self, index: Path) -> None:
        table = _index_table(index)
        shards: dict[str, str] = {}
        for shard in sorted(set(table.values())):
            file = self.folder / shard
            if not file.is_file():
                raise BuildError(f"{index}: shard '{clipped(shard)}' not found; download it, or the whole folder")
            shards |= dict.fromkeys(self._read_header(file), shard)
        for name, shard in table.items():
            if shards.get(name) != shard:
                raise BuildError(
                    f"{index}: the index maps tensor '{clipped(name)}' to '{clipped(shard)}', but that shard does not "
                    "contain it; download the whole folder again"
                )
        extra = next((name for name in shards if name not in table), None)
        if extra is not None:
            raise BuildError(
                f"{index}: tensor '{clipped(extra)}' of '{shards[extra]}' is not in the index; "
                "download the whole folder again"
            )


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise BuildError(f"{file}: not a usable safetensors file: {error}; download it again") from None


def _index_table(index: Path) -> Mapping[str, str]:
    """Return weight_map of a shard index. Raises BuildError for a file name that leads out of the folder."""
    if index.stat().st_size > _MAX_INDEX_BYTES:
        raise BuildError(f"{index}: larger than {_MAX_INDEX_BYTES} bytes, which no shard index is; download it again")
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BuildError(f"{index}: not a shard index with a weight_map: {error!r}; download it again") from None
    if not isinstance(table, dict) or not table or not all(isinstance(shard, str) for shard in table.values()):
        raise BuildError(f"{index}: weight_map does not map tensor names to file names; download it again")
    for shard in table.values():
        if PurePosixPath(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise BuildError(
                f"{index}: '{clipped(shard)}' is not the name of a .safetensors file in the same folder; correct it"
            )
    return table


def _missing(folder: Path, files: list[Path]) -> str:
    if files:
        return (
            f"{folder}: {len(files)} safetensors files, but {INDEX} not found; download it, or keep only the files of "
            "one model"
        )
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")])
    if pickled:
        return (
            f"{folder}: only pickled weights ({pickled[0].name}), which archc never opens; "
            "convert them to safetensors in an environment that trusts them"
        )
    return f"{folder}: {SINGLE} and {INDEX} not found; give a checkpoint folder, or build with --random SEED"
