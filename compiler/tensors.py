"""Types of the tensors that pass between the parts of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# The axes that vary from call to call, with their sizes for tracing: all different, none 0 or 1 (which the tracer
# would take for constants). The same name is the same size everywhere in a call.
_SIZES = {"batch": 2, "seq": 3, "total": 5, "capacity": 7, "asked": 4, "source": 6}


@dataclass(frozen=True)
class TensorType:
    """A tensor between parts: its dtype and a shape of sizes and axis names."""

    dtype: torch.dtype
    shape: tuple[int | str, ...]

    def example(self, device: str) -> Tensor:
        """A tensor of this type with example sizes for the named axes."""
        sizes = [_SIZES[axis] if isinstance(axis, str) else axis for axis in self.shape]
        return torch.zeros(sizes, dtype=self.dtype, device=device)

    def dynamic(self, scope: int) -> dict[int, object]:
        """Which axes vary, in torch.export's terms; axes of different scopes are not known to be equal."""
        return {i: torch.export.Dim(f"{axis}_{scope}") for i, axis in enumerate(self.shape) if isinstance(axis, str)}
