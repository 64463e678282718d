"""Types of the tensors that pass between the parts of a model."""

from __future__ import annotations

from dataclasses import dataclass

from archc.plan.axes import CAPACITY, slots_of
from archc.plan.dtypes import DTypeName

# The axes that vary from call to call, with their sizes in each of the six runs that trace a part.
#
# A size is inferred from these samples alone, so they decide which wrong formulas are refused:
#   - no product of up to three axes is an affine function of another one, and no axis is the longer one in every run
#     (min, max and comparisons of two axes then match no formula);
#   - each axis takes small values and a large one, and is 1 in one of the runs at least (min, max, //, ceil, % and
#     comparisons with a constant show, up to the axis' largest value);
#   - the last run has 1 everywhere, the smallest call, and another one has many sequences of one token each (decoding).
# The large values are in different runs, because tensors are as large as a product: one operator over [batch, seq,
# width] takes memory and time, and a model's width does not shrink while it is traced.
SIZES = {
    "batch": (7, 3, 131, 1, 2, 1),
    "seq": (5, 6, 1, 1031, 3, 1),
    "total": (3, 8, 4, 9, 1033, 1),
    "capacity": (13, 11, 17, 2, 2057, 1),
    "asked": (4, 7, 8, 3, 149, 1),
    "source": (2, 10, 13, 5, 519, 1),
}
BLOCK_SLOTS = (6, 17, 1, 19, 1061, 1)
"""Those of the slots of caches with one for each block of tokens, which are as long in all caches of a part."""


def sizes_of(axis: str) -> tuple[int, ...]:
    """Return the sizes of an axis in each run."""
    return BLOCK_SLOTS if axis != CAPACITY and slots_of(axis, 1) is not None else SIZES[axis]


@dataclass(frozen=True)
class TensorType:
    """A tensor between parts: its dtype and a shape of sizes and axis names; equal names are equal sizes."""

    dtype: DTypeName
    shape: tuple[int | str, ...]
