"""A mixture of experts: the router that chooses experts for each token, and the experts with stacked weights.

Shape suffixes as in `archc.compiler.ops.operators`, and: E experts, A active experts per token, G groups of experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.table import Table
from archc.compiler.ops import experts

# Lower bound on the sum that weights are divided by. DeepSeek-V3's code adds it to the sum, which has the same effect.
_MIN_SUM = 1e-20


class Router(nn.Module):
    """Top-k routing: a score of each expert, the best `per_token` of them, and their weights; float32 throughout.

    Selection by tokens reads the experts from a table instead; the router of a `vocab` of 0 has no such table.
    """

    def __init__(self, word: words.MoeMlp, width: int, vocab: int = 0) -> None:
        super().__init__()
        self.word, self.per_token, self.capacity = word.router, word.per_token, word.capacity
        self.experts = word.experts + word.identity_experts
        # A rounded score can choose another expert, so the router's few weights are float32 in a model of any dtype
        # (Fedus et al. 2022, section 2.4).
        self.projection = Linear(width, self.experts, word.router.bias, torch.float32)
        bias = torch.empty(self.experts, dtype=torch.float32) if word.router.selection_bias else None
        self.selection_bias = nn.Parameter(bias) if bias is not None else None
        self.norm = make_norm(word.router.norm, width, torch.float32)
        self.by_token = Table(vocab, self.per_token, torch.int64) if word.router.selection == "tokens" else None
        scale = torch.empty(self.experts, dtype=torch.float32) if word.router.expert_scale else None
        self.expert_scale = nn.Parameter(scale) if scale is not None else None

    def forward(self, x_BSN: Tensor, input_ids_BS: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, S, N], ids [B, S] → the chosen experts, int64 [B, S, A], and their weights in x's dtype [B, S, A]."""
        logits_BSE = self.projection(self.norm(x_BSN.float()))
        if self.word.logit_scale is not None:
            logits_BSE = logits_BSE * self.word.logit_scale
        if self.by_token is not None:
            assert input_ids_BS is not None
            chosen_BSA = self.by_token(input_ids_BS).clamp(0, self.experts - 1)
            weights_BSA = self.scores(logits_BSE).gather(-1, chosen_BSA)
        elif self.word.score == "sparsemixer":
            chosen_BSA, weights_BSA = self.sparse_mixer(logits_BSE)
        elif self.word.over == "chosen":
            selection_BSE = logits_BSE if self.selection_bias is None else logits_BSE + self.selection_bias
            best_BSA, chosen_BSA = selection_BSE.topk(self.per_token, dim=-1)
            weights_BSA = self.scores(best_BSA if selection_BSE is logits_BSE else logits_BSE.gather(-1, chosen_BSA))
        else:
            scores_BSE = self.scores(logits_BSE)
            selection_BSE = self.selection_scores(scores_BSE)
            best_BSA, chosen_BSA = selection_BSE.topk(self.per_token, dim=-1)
            weights_BSA = best_BSA if selection_BSE is scores_BSE else scores_BSE.gather(-1, chosen_BSA)
        if self.word.renormalize:
            weights_BSA = weights_BSA / weights_BSA.sum(dim=-1, keepdim=True).clamp(min=_MIN_SUM)
        if self.word.scale is not None:
            weights_BSA = weights_BSA * self.word.scale
        if self.expert_scale is not None:
            weights_BSA = weights_BSA * nn.functional.embedding(chosen_BSA, self.expert_scale[:, None])[..., 0]
        if self.capacity is not None:
            weights_BSA = weights_BSA * within_capacity(chosen_BSA, self.capacity)
        return chosen_BSA, weights_BSA.to(x_BSN.dtype)

    def sparse_mixer(self, logits_BSE: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best experts, int64 [B, S, A], and each one's softmax over its band (GRIN, section 2)."""
        best_BSA, chosen_BSA = logits_BSE.topk(self.per_token, dim=-1)
        sizes_BSE = logits_BSE.relu() + (-logits_BSE).relu()
        numbers_E, lowest = torch.arange(self.experts, device=logits_BSE.device), torch.finfo(torch.float32).min
        left_BSE, weights = logits_BSE, []
        for index in range(self.per_token):
            best_BS1 = best_BSA[..., index : index + 1]
            band_BSE = 2 * self.word.jitter * (sizes_BSE + (best_BS1 - sizes_BSE).relu())
            is_out_BSE = (best_BS1 - left_BSE) > band_BSE
            parts_BSE = torch.where(is_out_BSE, lowest, left_BSE - best_BS1).exp()
            weights.append(torch.ones_like(best_BS1) / parts_BSE.sum(dim=-1, keepdim=True))
            left_BSE = torch.where(chosen_BSA[..., index : index + 1] == numbers_E, lowest, left_BSE)
        return chosen_BSA, torch.cat(weights, dim=-1)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of logits, [..., E or A]."""
        match self.word.score:
            case "softmax":
                return logits.softmax(dim=-1)
            case "sqrtsoftplus":
                return nn.functional.softplus(logits).sqrt()
        return logits.sigmoid()

    def selection_scores(self, scores_BSE: Tensor) -> Tensor:
        """Return the scores that select experts, [B, S, E]: biased, and lowest or 0 outside the best groups.

        Groups are ranked by their best expert or the sum of their best two (DeepSeek-V3 2024, section 2.1.2).
        """
        if self.selection_bias is not None:
            scores_BSE = scores_BSE + self.selection_bias
        groups = self.word.groups
        if groups is None:
            return scores_BSE
        grouped_BSGE = scores_BSE.unflatten(-1, (groups.count, self.experts // groups.count))
        best_BSG = grouped_BSGE.topk(1 if groups.by == "max" else 2, dim=-1).values.sum(dim=-1)
        chosen_BSA = best_BSG.topk(groups.chosen, dim=-1).indices
        numbers_G = torch.arange(groups.count, device=scores_BSE.device)
        is_chosen_BSG = (chosen_BSA[..., None] == numbers_G).any(dim=-2)
        others = 0.0 if groups.others == "zero" else torch.finfo(torch.float32).min
        return torch.where(is_chosen_BSG[..., None], grouped_BSGE, others).flatten(-2)


def within_capacity(chosen_BS1: Tensor, capacity: int) -> Tensor:
    """Return 1 for the first `capacity` tokens of a row that chose an expert, 0 for those after them, [B, S, 1]."""
    chosen_BS = chosen_BS1[..., 0]
    numbers_S = torch.arange(chosen_BS.shape[1], device=chosen_BS.device)
    is_same_BSS = chosen_BS[:, :, None].eq(chosen_BS[:, None, :]).float()
    is_earlier_SS = (numbers_S[:, None] + 1 > numbers_S).float()
    count_BS = (is_same_BSS * is_earlier_SS).sum(dim=-1)
    return (capacity - count_BS).ge(0).float()[..., None]


class StackedLinear(nn.Module):
    """The weights of one projection of every expert: weight [E, M, N], bias [E, M]."""

    def __init__(self, count: int, inputs: int, outputs: int, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(count, outputs, dtype=dtype)) if bias else None


class Experts(nn.Module):
    """All routed experts; their weights are stacked, so that a trace has one operator for any number of them."""

    def __init__(self, word: words.MoeMlp, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.count, self.per_token, self.word = word.experts, word.per_token, word.expert
        inner, bias = word.expert.width, word.expert.bias
        gated = isinstance(word.expert, words.GatedMlp)
        self.gate = StackedLinear(word.experts, width, inner, bias, dtype) if gated else None
        self.up = StackedLinear(word.experts, width, inner, bias, dtype)
        self.down = StackedLinear(word.experts, inner, width, word.expert.has_down_bias, dtype)

    def forward(self, x_BSN: Tensor, chosen_BSA: Tensor, weights_BSA: Tensor) -> Tensor:
        """[B, S, N], a token's experts and their weights [B, S, A] → the weighted sum [B, S, N]."""
        word, gate = self.word, self.gate
        names = ("beta", "limit", "up_offset", "activation_limit")
        beta, limit, up_offset, activation_limit = (getattr(word, name, None) or 0.0 for name in names)
        y_BSN: Tensor = experts.experts(
            x_BSN,
            chosen_BSA,
            weights_BSA,
            self.up.weight,
            self.down.weight,
            None if gate is None else gate.weight,
            self.up.bias,
            self.down.bias,
            None if gate is None else gate.bias,
            word.activation,
            beta,
            limit,
            up_offset,
            activation_limit,
        )
        return y_BSN

    def scaled(self, x_BSN: Tensor, chosen_BSA: Tensor, weights_BSA: Tensor) -> Tensor:
        """[B, S, N], a token's experts and the factors on their inputs [B, S, A] → the sum [B, S, N]."""
        # One expert of each token at a time, because each reads an input of its own.
        parts = [
            self(x_BSN * weight_BS1, expert_BS1, torch.ones_like(weight_BS1))
            for weight_BS1, expert_BS1 in zip(weights_BSA.split(1, dim=-1), chosen_BSA.split(1, dim=-1), strict=True)
        ]
        total: Tensor = sum(parts[1:], parts[0])
        return total
