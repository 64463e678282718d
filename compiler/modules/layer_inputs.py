"""What the parts of a layer read besides the residual stream and their state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """The parts that a layer does not use are None; `given` holds what earlier layers gave, by name."""

    mask_B1ST: Tensor | None = None
    write_indices_B: Tensor | None = None
    lengths_B: Tensor | None = None
    real_BS1: Tensor | None = None
    cos_BSR: Tensor | None = None
    sin_BSR: Tensor | None = None
    bias_BHST: Tensor | None = None  # an axis on which it does not depend may be 1
    logn_B1S1: Tensor | None = None
    buckets_BST: Tensor | None = None
    source_mask_B1ST: Tensor | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)

    def only_real(self, x_BSM: Tensor) -> Tensor:
        """float32 x with zeros for the padding of ragged rows."""
        return x_BSM if self.real_BS1 is None else x_BSM * self.real_BS1
