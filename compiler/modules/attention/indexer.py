"""Sparse indexers: a small scorer that selects the keys each query attends to.

Shape suffixes as in `archc.compiler.ops.key_selection`; Q is the width of what queries are projected from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import SELECTED
from archc.compiler.contract.state import INDEXER_KEY, State
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops import operators as ops
from archc.compiler.ops.key_selection import select_blocks, select_keys


class KeyIndexer(nn.Module):
    """The keys with the highest Σ_w weight_w(x) · ReLU(q_w · k) for each query (DeepSeek-V3.2-Exp 2025, eq. 1).

    Factors that all scores of a query share, 1 / sqrt(head_dim · heads), are left out: they change no order.
    """

    def __init__(self, word: words.KeyIndexer, width: int, query_width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.q_input_norm = make_norm(word.query_norm, query_width, dtype)
        self.q = Linear(query_width, word.heads * word.head_dim, False, dtype)
        self.k = Linear(width, word.head_dim, False, dtype)
        self.k_norm = make_norm(word.norm, word.head_dim, dtype)
        self.weights = Linear(width, word.heads, False, dtype)

    def forward(self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State) -> dict[str, Tensor]:
        """Return the mask of the selected keys, bool [B, 1, S, T]; with a state, also the cache of the keys.

        The queries are projected from `source`.
        """
        assert inputs.mask_B1ST is not None
        q_BWSI, k_B1SI, weights_BSW = self.operands(x_BSN, source_BSQ, inputs)
        k_B1TI, present = with_cached(k_B1SI, inputs, state)
        mask = select_keys(q_BWSI, k_B1TI, weights_BSW, inputs.mask_B1ST, self.word.keys, bool(present))
        return {**present, SELECTED: mask}

    def operands(self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, W, S, I], keys [B, 1, S, I] and weights of heads [B, S, W]."""
        q_BWSI = ops.split_heads(self.q(self.q_input_norm(source_BSQ)), self.word.heads)
        k_B1SI = self.k_norm(self.k(x_BSN)).unsqueeze(1)
        rotated = (inputs.rotate(x, self.word.pairing == "interleaved") for x in (q_BWSI, k_B1SI))
        return *rotated, self.weights(x_BSN)


class BlockIndexer(nn.Module):
    """The blocks of keys with the highest max q_w · k, for each group of heads of the attention (MiniMax M3)."""

    def __init__(self, word: words.BlockIndexer, heads: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.heads = word, heads
        self.q = Linear(width, word.heads * word.head_dim, False, dtype)
        self.k = Linear(width, word.head_dim, False, dtype)
        self.q_norm, self.k_norm = (make_norm(word.norm, word.head_dim, dtype) for _ in range(2))

    def forward(self, x_BSN: Tensor, _: Tensor, inputs: LayerInputs, state: State) -> dict[str, Tensor]:
        """Return the mask of the selected keys, bool [B, H, S, T]; with a state, also the cache of the keys."""
        word, mask = self.word, inputs.mask_B1ST
        assert mask is not None
        q_BWSI, k_B1SI = self.operands(x_BSN, inputs)
        k_B1TI, present = with_cached(k_B1SI, inputs, state)
        options = word.block, word.blocks, word.last, bool(present)
        return {**present, SELECTED: select_blocks(q_BWSI, k_B1TI, mask, self.heads, *options)}

    def operands(self, x_BSN: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor]:
        """Return queries [B, W, S, I] and keys [B, 1, S, I]."""
        q_BWSI = self.q_norm(ops.split_heads(self.q(x_BSN), self.word.heads))
        k_B1SI = self.k_norm(self.k(x_BSN)).unsqueeze(1)
        interleaved = self.word.pairing == "interleaved"
        return inputs.rotate(q_BWSI, interleaved), inputs.rotate(k_B1SI, interleaved)


def with_cached(k_B1SI: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the keys of a call with those of earlier calls, [B, 1, T, I], and their new cache if there is one."""
    if INDEXER_KEY not in state:
        return k_B1SI, {}
    cache = ops.update_cache(state[INDEXER_KEY], k_B1SI, inputs.write_indices_B)
    return cache, {INDEXER_KEY: cache}


def make_indexer(
    word: words.Indexer | None, heads: int, width: int, query_width: int, dtype: torch.dtype
) -> nn.Module | None:
    """Return the module of an indexer with weights of its own for attention of so many heads, or None."""
    match word:
        case words.KeyIndexer():
            return KeyIndexer(word, width, query_width, dtype)
        case words.BlockIndexer():
            return BlockIndexer(word, heads, width, dtype)
    return None


def select(
    indexer: nn.Module | None, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mask of attention, and the new state of its indexer with the mask for later layers."""
    assert inputs.mask_B1ST is not None
    if indexer is None:
        return inputs.cross_layer.get(SELECTED, inputs.mask_B1ST), {}
    present: dict[str, Tensor] = indexer(x_BSN, source_BSQ, inputs, state)
    return present[SELECTED], present
