"""Types of the tensors that pass between the parts of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# The axes that vary from call to call, with their sizes in each of the runs that trace a part: now one is the larger,
# now another, none is 0 or 1, and no product of them follows from another. The same name is the same size everywhere.
SIZES = {
    "batch": (7, 3, 5),
    "seq": (5, 6, 9),
    "total": (3, 8, 4),
    "capacity": (13, 11, 2),
    "asked": (4, 7, 8),
    "source": (2, 10, 13),
}


@dataclass(frozen=True)
class TensorType:
    """A tensor between parts: its dtype and a shape of sizes and axis names."""

    dtype: torch.dtype
    shape: tuple[int | str, ...]
