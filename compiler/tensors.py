"""Types of the tensors that pass between the parts of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# The axes that vary from call to call, with their sizes for tracing: all different, none 0 or 1 (which the tracer
# would take for constants). The same name is the same size everywhere in a call.
SIZES = {"batch": 2, "seq": 3, "total": 5, "capacity": 7, "asked": 4, "source": 6}


@dataclass(frozen=True)
class TensorType:
    """A tensor between parts: its dtype and a shape of sizes and axis names."""

    dtype: torch.dtype
    shape: tuple[int | str, ...]
