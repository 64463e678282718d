"""The MLP of a layer; one module for each kind of `archc.archspec.vocabulary.mlp`."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.activations import LEARNED, make_activation
from archc.compiler.modules.basic.linear import Linear, make_linear, scaled
from archc.compiler.modules.basic.low_rank import LowRank
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.mlp.experts import Experts, Router
from archc.compiler.ops.activations import gated


class PlainMlp(nn.Module):
    """down(act(up(x))) (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, word: words.PlainMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.up = make_linear(width, word.width, word.bias, word.groups.up, dtype)
        self.down = make_linear(word.width, width, word.has_down_bias, word.groups.down, dtype)
        self.activation = make_activation(word.activation, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        return self.down(self.activation(self.up(x)))


class LinearMlp(nn.Module):
    """W x, in place of an MLP (Bercovich et al. 2024, Puzzle, section 2)."""

    def __init__(self, word: words.LinearMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.projection = Linear(width, width, word.bias, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        return self.projection(x)


def gaussian_top_k(x: Tensor, sparsity: float) -> Tensor:
    """Return relu(x − mean − z · std) over the last axis, z the standard normal quantile of `sparsity` (Gemma 3n)."""
    values, width = x.float(), x.shape[-1]
    centered = values - values.sum(dim=-1, keepdim=True) / width
    std = (centered.square().sum(dim=-1, keepdim=True) / width).sqrt()
    return nn.functional.relu(centered - std * NormalDist().inv_cdf(sparsity)).to(x.dtype)


class GatedMlp(nn.Module):
    """down(act(gate(x)) · up(x)) (Shazeer 2020); with clamps, a beta and an offset if the word has them (gpt-oss)."""

    def __init__(self, word: words.GatedMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate = Linear(width, word.width, word.bias, dtype)
        self.up = Linear(width, word.width, word.bias, dtype)
        self.down = Linear(word.width, width, word.has_down_bias, dtype)
        self.inner_norm = make_norm(word.inner_norm, word.width, dtype)
        self.adapter: LowRank | None = None
        if word.adapter is not None:
            self.adapter = LowRank(width, word.adapter.rank, 2 * word.width, False, dtype)
        self.word = word
        self.learned = LEARNED[word.activation](dtype) if word.activation in LEARNED else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] → [B, S, width]."""
        word, gate, up = self.word, self.gate(x), self.up(x)
        if self.adapter is not None:
            on_gate, on_up = self.adapter(x).split(word.width, dim=-1)
            gate, up = gate + on_gate, up + on_up
        gate = scaled(gate, word.gate_scale)
        if word.sparsity is not None:
            gate = gaussian_top_k(gate, word.sparsity)
        if self.learned is not None:
            return self.down(self.inner_norm(self.learned(gate) * up))
        options = [value or 0.0 for value in (word.beta, word.limit, word.up_offset, word.activation_limit)]
        return self.down(self.inner_norm(gated(gate, up, word.activation, *options)))


class MoeMlp(nn.Module):
    """Σ weight · expert(x) over a token's chosen experts, plus a shared MLP (Shazeer et al. 2017; Dai et al. 2024).

    With a branch for the experts, they and the router read the residual stream (Gemma 4).
    """

    def __init__(self, word: words.MoeMlp, width: int, dtype: torch.dtype, vocab: int = 0) -> None:
        super().__init__()
        self.router = Router(word, width, vocab)
        self.experts = Experts(word, width, dtype)
        self.shared = make_mlp(word.shared, width, dtype) if word.shared is not None else None
        self.shared_scale, self.weighs = word.shared_scale, word.router.weighs
        self.bias = nn.Parameter(torch.empty(width, dtype=dtype)) if word.sum_bias else None
        self.shared_gate = Linear(width, 1, False, dtype) if word.shared_gate else None
        norm = word.branch.norm if word.branch is not None else words.NoNorm()
        self.has_identity = word.identity_experts > 0
        self.reads_stream = word.branch is not None
        self.norm, self.output_norm, self.shared_norm = (make_norm(norm, width, dtype) for _ in range(3))

    def forward(self, x: Tensor, stream: Tensor, input_ids: Tensor | None = None) -> Tensor:
        """[B, S, width], the residual stream that x is the norm of, and ids for the router → [B, S, width]."""
        source = stream if self.reads_stream else x
        chosen, weights = self.router(source, input_ids)
        source = self.norm(source)
        run = self.experts if self.weighs == "output" else self.experts.scaled
        if not self.has_identity:
            y: Tensor = run(source, chosen, weights)
        else:
            is_identity = chosen >= self.experts.count
            kept = torch.where(is_identity, weights, 0.0).sum(dim=-1, keepdim=True)
            chosen, weights = chosen.clamp(max=self.experts.count - 1), torch.where(is_identity, 0.0, weights)
            y = run(source, chosen, weights) + source * kept
        y = self.output_norm(y if self.bias is None else y + self.bias)
        if self.shared is None:
            return y
        shared = self.shared_norm(self.shared(x))
        if self.shared_scale is not None:
            shared = shared * self.shared_scale
        return y + (shared if self.shared_gate is None else self.shared_gate(x).sigmoid() * shared)


def make_mlp(
    word: words.PlainMlp | words.GatedMlp | words.LinearMlp | words.MoeMlp,
    width: int,
    dtype: torch.dtype,
    vocab: int = 0,
) -> nn.Module:
    """Return the module of an MLP word for a residual stream of that width, in a model of that vocabulary."""
    match word:
        case words.PlainMlp():
            return PlainMlp(word, width, dtype)
        case words.GatedMlp():
            return GatedMlp(word, width, dtype)
        case words.LinearMlp():
            return LinearMlp(word, width, dtype)
        case words.MoeMlp():
            return MoeMlp(word, width, dtype, vocab)
