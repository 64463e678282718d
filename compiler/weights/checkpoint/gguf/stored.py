"""A tensor as it is stored in a GGUF file, or its part at an index of the first axis, dequantized by blocks of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.files.gguf_header import GgufTensor
from archc.compiler.files.stamp import file_stamp
from archc.compiler.weights.checkpoint.files import read_into
from archc.compiler.weights.checkpoint.gguf.row_order import Order, read_ordered
from archc.compiler.weights.checkpoint.weights import Place

# Bytes in float32 that are dequantized at once.
_BLOCK_BYTES = 16 * 2**20
# Types that are read as they are: name in safetensors, and torch's type.
PLAIN = {
    "F32": ("F32", torch.float32),
    "F16": ("F16", torch.float16),
    "BF16": ("BF16", torch.bfloat16),
    "F64": ("F64", torch.float64),
    "I32": ("I32", torch.int32),
}


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor of the file; `kind` is its type in the package gguf, `order` the file's row of each row, if any."""

    tensor: GgufTensor
    kind: Any
    block: int
    block_bytes: int
    order: Order | None = None
    index: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, without the first axis for the part at an index."""
        return self.tensor.shape if self.index is None else self.tensor.shape[1:]

    @property
    def dtype(self) -> str:
        """The dtype in which it is read, by its name in safetensors: F32 if it is quantized."""
        return PLAIN[self.kind.name][0] if self.kind.name in PLAIN else "F32"

    def read(self, place: Place) -> Tensor:
        """Return the part at a place along the first axes; of the file, only rows of the first axis' range are read.

        Raises BuildError if the file changed, and OSError if it cannot be read.
        """
        shape = self.shape
        first, rest = (place[0], place[1:]) if place else (slice(0, shape[0]), ())
        start, stop = (first.start, first.stop) if isinstance(first, slice) else (first, first + 1)
        with self.tensor.path.open("rb", buffering=0) as file:
            if file_stamp(file) != self.tensor.stamp:
                raise BuildError(f"{self.tensor.path}: changed during the build; build again")
            if len(shape) == 1:
                value = self._rows(file, 0, 1).reshape(shape)
                value = value[start:stop] if self.order is None else value[torch.from_numpy(self.order[start:stop])]
            elif self.order is None or stop == start:
                per_index = math.prod(shape[1:-1])
                value = self._rows(file, start * per_index, stop * per_index).reshape(stop - start, *shape[1:])
            else:
                value = read_ordered(lambda begin, end: self._rows(file, begin, end), self.order[start:stop])
        if not isinstance(first, slice):
            return value[0][rest] if rest else value[0]
        return value[(slice(None), *rest)] if rest else value

    def _rows(self, file: Any, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) over all axes but the last, a block at a time."""
        from gguf.quants import dequantize

        columns, width = self.shape[-1], self.shape[-1] // self.block * self.block_bytes
        skipped = 0 if self.index is None else self.index * math.prod(self.shape[:-1])
        plain = PLAIN.get(self.kind.name)
        value = torch.empty(stop - start, columns, dtype=plain[1] if plain else torch.float32)
        at_once = max(1, _BLOCK_BYTES // max(1, 4 * columns))
        for first in range(start, stop, at_once):
            last = min(stop, first + at_once)
            data = torch.empty((last - first) * width, dtype=torch.uint8)
            read_into(file, self.tensor.start + (skipped + first) * width, data)
            if plain:
                value[first - start : last - start] = data.view(plain[1]).reshape(last - first, columns)
            else:
                with np.errstate(all="ignore"):  # a scale may be infinite, as a number of any other checkpoint
                    rows = dequantize(data.numpy().reshape(last - first, width), self.kind)
                value[first - start : last - start] = torch.from_numpy(rows)
        return value
