"""Fourier mixing: discrete Fourier transforms as matrix products (Lee-Thorp et al. 2022, FNet).

Shape suffixes as in `archc.compiler.ops.operators`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.compiler.contract.state import State
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops import operators as ops


def token_transform(seq: int, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2π·j·k / length for the tokens j and k of each row, [B, S, S]; zero for k in padding."""
    positions_S = torch.arange(seq, device=lengths_B.device).float()
    products_SS, length_B11 = positions_S[:, None] * positions_S, lengths_B.float()[:, None, None]
    # The product modulo the length is exact, so that the angle is, too: −ceil(−x) is the floor.
    whole_BSS = ((products_SS / length_B11) * -1.0).ceil() * -1.0
    angles_BSS = (products_SS - whole_BSS * length_B11) / length_B11 * (2 * math.pi)
    real_B1S = (length_B11 > positions_S).float()
    return angles_BSS.cos() * real_B1S, angles_BSS.sin() * real_B1S


class FourierMixing(nn.Module):
    """Re(F_S · x · F_N) for transforms F = cos − i·sin over tokens and channels (Lee-Thorp et al. 2022, eq. 3)."""

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, N] → [B, S, N], computed in float32, and no state."""
        assert inputs.fourier_cos_BSS is not None
        assert inputs.fourier_sin_BSS is not None
        width = x_BSN.shape[-1]
        channels_N = torch.arange(width)
        angles_NN = (channels_N[:, None] * channels_N % width).double() * (2 * math.pi / width)
        wide = x_BSN.float()
        real = ops.product(inputs.fourier_cos_BSS, ops.product(wide, angles_NN.cos().float().to(wide.device)))
        imaginary = ops.product(inputs.fourier_sin_BSS, ops.product(wide, angles_NN.sin().float().to(wide.device)))
        return (real - imaginary).to(x_BSN.dtype), {}
