"""Conditional memory: a branch before the mixer that reads tables of n-grams (Cheng et al. 2026, Engram, section 2).

Shape suffixes as in `archc.compiler.ops.operators`, and: O tokens of the longest n-gram, E width of what the tables
have of a token, C streams, M = C · N their total width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import MEMORY_INPUT, MEMORY_TOKENS, State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import PerHead
from archc.compiler.modules.basic.shift import tail_state, with_tail
from archc.compiler.modules.basic.table import Table
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.memory.ngram_hash import NgramHash
from archc.compiler.modules.recurrent.convolution import DepthwiseConvolution
from archc.compiler.ops import operators as ops

_LEAST = 1e-6  # below which the absolute value of a score counts as this


class NgramMemory(nn.Module):
    """v + silu(convolution(norm(v))) for v = σ(sign(s) · √|s|) · value(e), s = norm(key(e)) · norm(x) / √N.

    Each of the streams x has keys and norms of its own.
    """

    def __init__(self, word: words.NgramMemory, vocab: int, streams: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.streams, self.width = word, streams, width
        self.hash = NgramHash(word, vocab)
        self.tables = Table(self.hash.rows, word.width // self.hash.count, dtype)
        self.key = Linear(word.width, streams * width, False, dtype)
        self.value = Linear(word.width, width, False, dtype)
        self.key_norm, self.query_norm, self.value_norm = (PerHead(word.norm, streams, width, dtype) for _ in range(3))
        self.convolution = DepthwiseConvolution(word.kernel, streams * width, False, dtype, word.order)

    def forward(self, x_BSM: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, M] → the branch's output [B, S, M], and its new state; it is empty if `state` is."""
        assert inputs.input_ids_BS is not None
        # As differences from the separator, so that the state before the first call stands for separators.
        ids_BS1 = inputs.input_ids_BS[..., None] - self.word.separator
        present = tail_state(ids_BS1, state, MEMORY_TOKENS, inputs.lengths_B)
        entries_BSE = self.look_up(with_tail(ids_BS1, state.get(MEMORY_TOKENS), self.word.order - 1))
        key_BCSN = self.key_norm(ops.split_heads(self.key(entries_BSE), self.streams))
        query_BCSN = self.query_norm(ops.split_heads(x_BSM, self.streams))
        scores_BCS1 = (key_BCSN * query_BCSN).float().sum(dim=-1, keepdim=True) * (1 / math.sqrt(self.width))
        gate_BCS1 = signed_root(scores_BCS1).sigmoid().to(x_BSM.dtype)
        value_BCSN = gate_BCS1 * self.value(entries_BSE)[:, None]
        normed_BSM = ops.merge_heads(self.value_norm(value_BCSN))
        present |= tail_state(normed_BSM, state, MEMORY_INPUT, inputs.lengths_B)
        convolved_BSM = nn.functional.silu(self.convolution(normed_BSM, state.get(MEMORY_INPUT)))
        return ops.merge_heads(value_BCSN) + convolved_BSM, present

    def look_up(self, ids_BT1: Tensor) -> Tensor:
        """Return what the tables have for each token, [B, S, E], of O − 1 + S tokens less the separator."""
        last = self.word.order - 1
        # Token t of the call and those before it; from the last separator on, all are separators.
        earlier = [ids_BT1[:, last:]]
        for distance in range(1, last + 1):
            token_BS1 = ids_BT1[:, last - distance : -distance]
            earlier.append(token_BS1 if distance == 1 else torch.where(earlier[-1] == 0, 0, token_BS1))
        history_BSO = torch.cat(earlier, dim=-1) + self.word.separator
        entries_BSHD: Tensor = self.tables(self.hash(history_BSO))
        return entries_BSHD.flatten(-2)


def signed_root(x: Tensor) -> Tensor:
    """Return sign(x) · sqrt(|x|), with |x| at least 1e-6 unless x is zero."""
    zero = torch.zeros_like(x)
    root = (x.relu() + (-x).relu()).clamp(min=_LEAST).sqrt()
    return torch.where(x > zero, root, torch.where(zero > x, -root, zero))
