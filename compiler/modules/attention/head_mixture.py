"""Mixture of attention heads: the router, and the heads of the selected experts (Zhang et al. 2022, section 3.1).

Shape suffixes as in `archc.compiler.ops.operators`, and: E experts, A experts of a token, K heads of an expert, which
are the key/value heads, M = K · D.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.ops import operators as ops


class HeadMixture(nn.Module):
    """Queries of the selected experts as the heads of attention, and their weighted outputs in the places of all.

    The projections compute the heads of all experts, and attention those of the selected ones.
    """

    def __init__(self, word: words.GroupedQueryAttention, width: int) -> None:
        super().__init__()
        assert word.mixture is not None
        self.experts, self.per_token, self.kv_heads = word.mixture.experts, word.heads // word.kv_heads, word.kv_heads
        self.router = nn.ModuleDict({"projection": Linear(width, self.experts, False, torch.float32)})

    def select(self, x_BSN: Tensor) -> tuple[Tensor, Tensor]:
        """Return the selected experts as rows with a one in their place, [B, S, A, E], and their weights [B, S, A, 1].

        Both have the dtype of x.
        """
        best_BSA, chosen_BSA = self.router["projection"](x_BSN.float()).topk(self.per_token, dim=-1)
        numbers_E = torch.arange(self.experts, device=x_BSN.device)
        places_BSAE = (chosen_BSA[..., None] == numbers_E).to(x_BSN.dtype)
        return places_BSAE, best_BSA.softmax(dim=-1)[..., None].to(x_BSN.dtype)

    def queries(self, all_BSM: Tensor, places_BSAE: Tensor) -> Tensor:
        """Return the queries of the selected experts, [B, S, K · A · D], of those of all, [B, S, E · K · D]."""
        chosen_BSAM = ops.product(places_BSAE, all_BSM.unflatten(-1, (self.experts, -1)))
        return chosen_BSAM.unflatten(-1, (self.kv_heads, -1)).permute(0, 1, 3, 2, 4).flatten(2)

    def outputs(self, heads_BSM: Tensor, places_BSAE: Tensor, weights_BSA1: Tensor) -> Tensor:
        """Return the weighted outputs [B, S, K · A · D] in the places of their experts, [B, S, E · K · D]."""
        heads_BSKAD = heads_BSM.unflatten(-1, (self.kv_heads, self.per_token, -1))
        chosen_BSAM = heads_BSKAD.permute(0, 1, 3, 2, 4).flatten(3) * weights_BSA1
        return ops.product(places_BSAE.permute(0, 1, 3, 2), chosen_BSAM).flatten(2)
