"""One matrix instead of attention or an MLP, against the sum over channels."""

from __future__ import annotations

import torch
from torch import nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.mixing import make_mixing
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.mlp.mlp import make_mlp


def test_attention_of_one_matrix_reads_its_own_token_alone() -> None:
    mixing = make_mixing(words.LinearMixing(bias=True), 6, torch.float32)
    _fill(mixing)
    x = torch.randn(2, 5, 6)
    y, state = mixing(x, LayerInputs(), {})
    torch.testing.assert_close(y, _sums(mixing, x))
    assert state == {}


def test_mlp_of_one_matrix_has_no_activation() -> None:
    mlp = make_mlp(words.LinearMlp(), 6, torch.float32)
    assert [name for name, _ in mlp.named_parameters()] == ["projection.weight"]
    _fill(mlp)
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(mlp(x), _sums(mlp, x))


def _fill(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape))


def _sums(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return Σ_i x_i W_ji + b_j for each channel j."""
    weights = dict(module.named_parameters())
    columns = [(x * row).sum(dim=-1) for row in weights["projection.weight"]]
    return torch.stack(columns, dim=-1) + weights.get("projection.bias", torch.zeros(()))
