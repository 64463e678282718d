"""Lazy reading of safetensors checkpoints: a single file, or shards with an index.

Headers are read when a checkpoint is opened; a tensor's bytes only when it is asked for. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
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
# The number formats that weights come in, as safetensors spells them, and their sizes in bytes.
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_REOPEN_BYTES = 128 * 2**20


Place = tuple[int | slice, ...]
"""Where a part of a tensor is along its first axes: indices, or a range of its rows."""


class Weights(Protocol):
    """Named tensors to build from: a checkpoint, or anything that stands in for one."""

    def names(self) -> Collection[str]:
        """The names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raises BuildError where one of these tensors cannot be a weight."""

    def read(self, name: str, place: Place = ()) -> Tensor:
        """One tensor, or its part at a place along its first axes, in its stored dtype."""

    def bytes(self, name: str) -> int:
        """How many bytes it is stored in."""


@dataclass(frozen=True)
class _Entry:
    file: Path
    shape: tuple[int, ...]
    dtype: str


class Checkpoint:
    """The tensors of a folder's safetensors files by name."""

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
        """The names of all tensors."""
        return self._entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor."""
        return self._entries[name].shape

    def bytes(self, name: str) -> int:
        """How many bytes a tensor is stored in; 0 for one that is no weight."""
        entry = self._entries[name]
        return math.prod(entry.shape) * _DTYPES.get(entry.dtype, 0)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raises BuildError for a tensor of integers: a mask or index that nothing reads may be one, a weight not."""
        for name in names:
            entry = self._entries[name]
            if entry.dtype not in _DTYPES:
                raise BuildError(
                    f"{entry.file}: tensor '{clipped(name)}' is stored as {entry.dtype}; "
                    f"archc reads {', '.join(_DTYPES)}: take the checkpoint's unquantised version"
                )

    def read(self, name: str, place: Place = ()) -> Tensor:
        """One tensor, or its part at a place along its first axes, in its stored dtype; of a part, no more is read.

        Raises BuildError for integers, and where its file cannot be read, and ValueError for a place that it lacks.
        """
        self.check_numbers([name])
        entry = self._entries[name]
        sizes = entry.shape[: len(place)]
        ends = [at.stop if isinstance(at, slice) else at + 1 for at in place]
        if len(sizes) < len(place) or any(end > size for end, size in zip(ends, sizes, strict=True)):
            raise ValueError(f"no {list(place)} in axes of sizes {list(sizes)}")
        taken = math.prod(at.stop - at.start for at in place if isinstance(at, slice))
        # A memory map keeps the pages that were read resident: one file is open at a time, and not for long.
        self._unmapped += self.bytes(name) * taken // math.prod(sizes)
        if self._opened is None or self._opened[0] != entry.file or self._unmapped > _REOPEN_BYTES:
            self._opened, self._unmapped = (entry.file, _open(entry.file)), 0
        try:
            handle = self._opened[1]
            value: Tensor = handle.get_slice(name)[place] if place else handle.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise BuildError(f"{entry.file}: tensor '{clipped(name)}' cannot be read: {error}") from None
        return value

    def _read_header(self, file: Path) -> list[str]:
        handle = _open(file)
        names = list(handle.keys())
        for name in names:
            view = handle.get_slice(name)
            if name in self._entries:
                raise BuildError(
                    f"tensor '{clipped(name)}' is in both {self._entries[name].file} and {file}: "
                    "the shards do not belong together"
                )
            self._entries[name] = _Entry(file, tuple(view.get_shape()), view.get_dtype())
        return names

    def _read_index(self, index: Path) -> None:
        table = _index_table(index)
        found: dict[str, str] = {}
        for shard in sorted(set(table.values())):
            file = self.folder / shard
            if not file.is_file():
                raise BuildError(
                    f"{index}: the shard '{clipped(shard)}' is not there: download it, or the whole folder"
                )
            found |= dict.fromkeys(self._read_header(file), shard)
        for name, shard in table.items():
            if found.get(name) != shard:
                raise BuildError(f"{index}: it puts tensor '{clipped(name)}' in '{clipped(shard)}', which has none")
        extra = next((name for name in found if name not in table), None)
        if extra is not None:
            raise BuildError(f"{index}: it does not list tensor '{clipped(extra)}', which '{found[extra]}' holds")


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise BuildError(f"{file}: not a usable safetensors file: {error}; download it again") from None


def _index_table(index: Path) -> Mapping[str, str]:
    """weight_map of a shard index, its file names checked: they must stay in the folder."""
    if index.stat().st_size > _MAX_INDEX_BYTES:
        raise BuildError(f"{index}: larger than {_MAX_INDEX_BYTES} bytes, which no shard index is")
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BuildError(f"{index}: not a shard index with a weight_map: {error!r}") from None
    if not isinstance(table, dict) or not table or not all(isinstance(shard, str) for shard in table.values()):
        raise BuildError(f"{index}: weight_map must map tensor names to file names")
    for shard in table.values():
        if PurePosixPath(shard).name != shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise BuildError(f"{index}: '{clipped(shard)}' is not the name of a .safetensors file in the same folder")
    return table


def _missing(folder: Path, files: list[Path]) -> str:
    if files:
        return f"{folder}: {len(files)} safetensors files and no {INDEX} that says how they belong together"
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")])
    if pickled:
        return (
            f"{folder}: only pickled weights ({pickled[0].name}), which archc never opens: "
            "convert them to safetensors in an environment that trusts them"
        )
    return f"{folder}: no {SINGLE} and no {INDEX}: name a checkpoint's folder, or build with --random SEED"


class RandomWeights:
    """Stand-in weights of any shape, for building without a checkpoint: the same seed gives the same numbers.

    Matrices are normal with standard deviation 0.02 (Radford et al. 2019), norm weights are one, biases zero.
    """

    def __init__(self, slots: Mapping[str, tuple[int, ...]], seed: int, unit_offset: Collection[str] = ()) -> None:
        self.slots, self.seed, self.unit_offset = slots, seed, unit_offset

    def names(self) -> Collection[str]:
        """The slots' own names."""
        return self.slots.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one slot."""
        return self.slots[name]

    def open(self, name: str) -> Tensor:
        """The same as `read`: nothing is stored that could be read in parts."""
        return self.read(name)

    def read(self, name: str) -> Tensor:
        """float32 numbers that depend on the seed and the slot's name alone."""
        shape = self.slots[name]
        if name.endswith("bias") or name in self.unit_offset:
            return torch.zeros(shape)
        if len(shape) == 1:
            return torch.ones(shape)
        generator = torch.Generator().manual_seed(_hash(name, self.seed))
        return torch.randn(shape, generator=generator) * 0.02


def _hash(name: str, seed: int) -> int:

    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1
