"""The tensors of a GGUF file under the names and in the order of the hub's form, dequantized by blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufFile, GgufTensor, read_gguf
from archc.compiler.files.stamp import file_stamp
from archc.compiler.weights.checkpoint.files import read_into
from archc.compiler.weights.checkpoint.gguf.architecture import Architecture, TensorRule, read_architecture
from archc.compiler.weights.checkpoint.weights import Place, check_float, check_place, stored_bytes

# Bytes in float32 that are dequantized at once.
_BLOCK_BYTES = 16 * 2**20
_MAX_EXPERTS = 2**12
# Types that are read as they are: name in safetensors, and torch's type.
_PLAIN = {
    "F32": ("F32", torch.float32),
    "F16": ("F16", torch.float16),
    "BF16": ("BF16", torch.bfloat16),
    "F64": ("F64", torch.float64),
    "I32": ("I32", torch.int32),
}


@dataclass(frozen=True)
class _Stored:
    """A tensor of the file, or one expert of it, and what changes its rows into those of the hub's form."""

    tensor: GgufTensor
    type: str
    block: int
    block_bytes: int
    rule: TensorRule
    heads: int
    expert: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape if self.expert is None else self.tensor.shape[1:]

    @property
    def row_bytes(self) -> int:
        return self.tensor.shape[-1] // self.block * self.block_bytes

    @property
    def start(self) -> int:
        skipped = 0 if self.expert is None else self.expert * math.prod(self.shape[:-1])
        return self.tensor.start + skipped * self.row_bytes


class GgufWeights:
    """The tensors of a GGUF file; quantized ones are float32 where they are read.

    Raises BuildError if the file's architecture or a quantization is not supported, or if a tensor is out of bounds.
    """

    def __init__(self, path: Path) -> None:
        self._file = read_gguf(path)
        self._gguf = import_gguf(path)
        architecture = read_architecture(self._file)
        self._tensors: dict[str, _Stored] = {}
        for name, tensor in self._file.tensors.items():
            if architecture.is_setting(name):
                continue
            for hub_name, stored in self._stored(name, tensor, architecture):
                if hub_name in self._tensors:
                    raise BuildError(f"{path}: tensor '{clip(name)}' appears twice as '{hub_name}'; download it again")
                self._tensors[hub_name] = stored

    def names(self) -> Collection[str]:
        """Return the names of all tensors in the hub's form."""
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self._tensors[name].shape

    def dtype(self, name: str) -> str:
        """Return the dtype in which a tensor is read: F32 for a quantized one."""
        stored = self._tensors[name]
        return _PLAIN[stored.type][0] if stored.type in _PLAIN and not stored.rule.offset else "F32"

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes in the dtype in which it is read."""
        return stored_bytes(self.dtype(name), self.shape(name))

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        for name in names:
            check_float(self._file.path, name, self.dtype(name))

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes; only the rows of the part are read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """
        stored = self._tensors[name]
        check_place(place, stored.shape)
        try:
            with self._file.path.open("rb", buffering=0) as file:
                if file_stamp(file) != self._file.stamp:
                    raise BuildError(f"{self._file.path}: changed during the build; build again")
                return self._read(file, stored, place)
        except OSError as error:
            raise BuildError(f"{self._file.path}: tensor '{clip(name)}' cannot be read: {error}; build again") from None

    def _stored(self, name: str, tensor: GgufTensor, architecture: Architecture) -> Iterable[tuple[str, _Stored]]:
        """Yield the tensors of the hub's form that a tensor of the file holds. Raises BuildError if it is damaged."""
        rule = architecture.rule(name)
        try:
            kind = self._gguf.GGMLQuantizationType(tensor.type)
        except ValueError:
            raise self._unsupported(name, f"type {tensor.type}") from None
        block, block_bytes = self._gguf.GGML_QUANT_SIZES[kind]
        if kind.name not in _PLAIN and not hasattr(self._gguf.quants, kind.name):
            raise self._unsupported(name, kind.name)
        stored = _Stored(tensor, kind.name, block, block_bytes, rule, architecture.heads(rule), None)
        size = math.prod(tensor.shape) // block * block_bytes
        heads = stored.heads
        experts = tensor.shape[0] if rule.per_expert and tensor.shape else 0
        if math.prod(tensor.shape) == 0 or experts > _MAX_EXPERTS:
            raise BuildError(
                f"{self._file.path}: tensor '{clip(name)}' has the shape {list(tensor.shape)}; download it again"
            )
        if not tensor.shape or tensor.shape[-1] % block or tensor.start + size > self._file.stamp[0]:
            raise BuildError(
                f"{self._file.path}: tensor '{clip(name)}' {list(tensor.shape)} of {kind.name} is not within the file; "
                "download it again"
            )
        if heads and tensor.shape[0] % (2 * heads):
            raise BuildError(
                f"{self._file.path}: tensor '{clip(name)}' {list(tensor.shape)} does not have rows for "
                f"{heads} heads; download it again"
            )
        if not rule.per_expert:
            yield rule.name, stored
            return
        for expert in range(tensor.shape[0]):
            yield rule.name.format(expert=expert), _Stored(*(tensor, kind.name, block, block_bytes, rule, 0, expert))

    def _unsupported(self, name: str, kind: str) -> BuildError:
        return BuildError(
            f"{self._file.path}: tensor '{clip(name)}': the GGML type {kind} is not supported; "
            "use a file in F16, BF16, Q8_0, Q4_K or Q6_K"
        )

    def _read(self, file: Any, stored: _Stored, place: Place) -> Tensor:
        first, rest = (place[0], place[1:]) if place else (slice(0, stored.shape[0]), ())
        start, stop = (first.start, first.stop) if isinstance(first, slice) else (first, first + 1)
        if len(stored.shape) == 1:
            value = self._rows(file, stored, 0, 1).reshape(stored.shape)
            value = in_halves(value, stored.heads)[start:stop] if stored.heads else value[start:stop]
        else:
            value = self._permuted(file, stored, start, stop)
        if stored.rule.offset:
            value = value.float() + stored.rule.offset
        if not isinstance(first, slice):
            return value[0][rest] if rest else value[0]
        return value[(slice(None), *rest)] if rest else value

    def _permuted(self, file: Any, stored: _Stored, start: int, stop: int) -> Tensor:
        """Return a range along the first axis; the rows of a head are in two halves, not in pairs, as on the hub."""
        per_index = math.prod(stored.shape[1:-1])
        if not stored.heads:
            value = self._rows(file, stored, start * per_index, stop * per_index)
            return value.reshape(stop - start, *stored.shape[1:])
        width = stored.shape[0] // stored.heads
        begin, end = start // width * width, -(-stop // width) * width
        value = self._rows(file, stored, begin, end)
        return in_halves(value, (end - begin) // width)[start - begin : stop - begin]

    def _rows(self, file: Any, stored: _Stored, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) over all axes but the last, a block at a time."""
        columns, width = stored.shape[-1], stored.row_bytes
        plain = _PLAIN.get(stored.type)
        value = torch.empty(stop - start, columns, dtype=plain[1] if plain else torch.float32)
        at_once = max(1, _BLOCK_BYTES // max(1, 4 * columns))
        for first in range(start, stop, at_once):
            last = min(stop, first + at_once)
            data = torch.empty((last - first) * width, dtype=torch.uint8)
            read_into(file, stored.start + first * width, data)
            if plain:
                value[first - start : last - start] = data.view(plain[1]).reshape(last - first, columns)
            else:
                kind = self._gguf.GGMLQuantizationType[stored.type]
                with np.errstate(all="ignore"):  # a scale may be infinite, as a number of any other checkpoint
                    rows = self._gguf.quants.dequantize(data.numpy().reshape(last - first, width), kind)
                value[first - start : last - start] = torch.from_numpy(rows)
        return value


def in_halves(value: Tensor, heads: int) -> Tensor:
    """Return rows [heads · pairs · 2, …] with the first of every pair before the second ones, head by head."""
    return value.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def import_gguf(path: Path) -> Any:
    """Return the package gguf. Raises BuildError if it is not installed."""
    try:
        import gguf
        import gguf.quants
    except ImportError:
        raise BuildError(
            f"{path}: the package gguf is missing, which dequantizes GGUF files; pip install 'archc-compiler[gguf]'"
        ) from None
    return gguf


def gguf_config(path: Path) -> dict[str, Any]:
    """Return the config.json that a GGUF file amounts to. Raises BuildError if its architecture is not supported."""
    file: GgufFile = read_gguf(path)
    return read_architecture(file).config()
