"""Fourier mixing against the fast Fourier transform of torch."""

from __future__ import annotations

import torch

from archc.compiler.modules.basic.fourier import FourierMixing, token_transform
from archc.compiler.modules.layer_inputs import LayerInputs


def test_every_row_is_transformed_over_its_own_tokens() -> None:
    x, lengths = torch.randn(3, 300, 6), torch.tensor([300, 1, 97])
    cos, sin = token_transform(300, lengths)
    mixed, _ = FourierMixing()(x, LayerInputs(fourier_cos_BSS=cos, fourier_sin_BSS=sin), {})
    for row, length in enumerate(lengths.tolist()):
        expected = torch.fft.fft2(x[row, :length].double()).real.float()
        torch.testing.assert_close(mixed[row, :length], expected, rtol=0, atol=1e-3)
