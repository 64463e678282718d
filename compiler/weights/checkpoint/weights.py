"""The interface of a checkpoint, whatever its container: named tensors, of which parts can be read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from archc.archspec.errors import clip
from archc.compiler.errors import BuildError

Place = tuple[int | slice, ...]
"""A part of a tensor along its first axes: an index, or a range of rows."""

FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes that weights may have, by their names in safetensors."""

# Bits of an element, by the dtype's name in safetensors; C128 is not in safetensors.
BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("C128",), 128),
}


class Weights(Protocol):
    """Named tensors to build from: a checkpoint, or what stands in for one."""

    def names(self) -> Collection[str]:
        """Return the names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors, such as `BF16` or `F8_E4M3`."""

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as stored."""

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor of any dtype, or its part at a place along its first axes; only the part is read.

        Raises BuildError for a file that cannot be read, and ValueError for a place out of bounds.
        """


def stored_bytes(dtype: str, shape: Iterable[int]) -> int:
    """Return the size in bytes of a tensor, from its dtype in safetensors and its shape."""
    return (math.prod(shape) * BITS[dtype] + 7) // 8


def check_float(file: Path, name: str, dtype: str) -> None:
    """Raise BuildError for a tensor of integers, or of a packed form: masks and indices may be, but weights may not."""
    if dtype not in FLOATS:
        raise BuildError(
            f"{file}: tensor '{clip(name)}' has dtype {dtype}, expected one of {', '.join(FLOATS)}; "
            "use an unquantized version of the checkpoint"
        )


def check_place(place: Place, shape: tuple[int, ...]) -> int:
    """Return the number of elements at a place of a shape. Raises ValueError if it is out of bounds."""
    sizes = shape[: len(place)]
    ends = [at.stop if isinstance(at, slice) else at + 1 for at in place]
    if len(sizes) < len(place) or any(end > size for end, size in zip(ends, sizes, strict=True)):
        raise ValueError(f"index {list(place)} is out of bounds for axes {list(sizes)}")
    count = math.prod(at.stop - at.start for at in place if isinstance(at, slice))
    return count * math.prod(shape[len(place) :])
