"""The inputs of a layer in addition to the residual stream and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from archc.compiler.ops import operators as ops


@dataclass(frozen=True)
class LayerInputs:
    """The shared tensors that one layer reads; None for those that it does not read.

    `cross_layer` has the tensors of earlier layers by name. A bias may have the size 1 on axes that it is constant on.
    """

    mask_B1ST: Tensor | None = None
    write_indices_B: Tensor | None = None
    lengths_B: Tensor | None = None
    real_BS1: Tensor | None = None  # 1 for tokens, 0 for padding
    cos_BSR: Tensor | None = None
    sin_BSR: Tensor | None = None
    bias_BHST: Tensor | None = None
    query_scale_B1S1: Tensor | None = None
    buckets_BST: Tensor | None = None
    relative_1RN: Tensor | None = None
    fourier_cos_BSS: Tensor | None = None
    fourier_sin_BSS: Tensor | None = None
    source_mask_B1ST: Tensor | None = None
    input_ids_BS: Tensor | None = None
    cross_layer: Mapping[str, Tensor] = field(default_factory=dict)
    rotates_last: bool = False
    past_mask_B1ST: Tensor | None = None  # the mask without a window

    def rotate(self, x_BHSD: Tensor, interleaved: bool) -> Tensor:
        """Return queries or keys whose first or last dims are rotated by their positions, if the layer reads angles."""
        if self.cos_BSR is None or self.sin_BSR is None:
            return x_BHSD
        rest = x_BHSD.shape[-1] - 2 * self.cos_BSR.shape[-1]
        if not self.rotates_last or not rest:
            return ops.rotary(x_BHSD, self.cos_BSR, self.sin_BSR, interleaved)
        first, last = x_BHSD.split([rest, x_BHSD.shape[-1] - rest], dim=-1)
        return torch.cat((first, ops.rotary(last, self.cos_BSR, self.sin_BSR, interleaved)), dim=-1)

    @property
    def backward(self) -> LayerInputs:
        """The same inputs with rotations by the negative angles."""
        return replace(self, sin_BSR=-self.sin_BSR) if self.sin_BSR is not None else self

    def mask_padding(self, x_BSM: Tensor) -> Tensor:
        """Return float32 x with zeros at the padding of ragged rows."""
        return x_BSM if self.real_BS1 is None else x_BSM * self.real_BS1
