"""Sparse indexers: a small scorer that selects the keys each query attends to.

Shape suffixes as in `archc.compiler.ops.key_selection`; Q is the width of what queries are projected from.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import SELECTED
from archc.compiler.contract.state import INDEXER_KEY, INDEXER_TAIL, State
from archc.compiler.modules.attention.block_pools import make_block_pool
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.shift import tail_state, with_tail
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.position.query_scale import LearnedScale
from archc.compiler.ops import operators as ops
from archc.compiler.ops.key_selection import select_blocks, select_keys, select_whole_blocks


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
        self.query_scale = LearnedScale(word.heads, dtype) if word.query_scale else None

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
        if self.query_scale is not None:
            assert inputs.query_scale_B1S1 is not None
            q_BWSI = q_BWSI * self.query_scale(inputs.query_scale_B1S1)
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


class PooledBlockIndexer(nn.Module):
    """The blocks of keys with the highest Σ_w weight_w(x) · ReLU(q_w · k), k pooled over a block, and the keys after
    them; without weights, all are 1.

    The cache has a pooled key for each token, of the block that ends with it, so that no call computes one again.
    """

    def __init__(self, word: words.PooledBlockIndexer, width: int, query_width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word = word
        self.q = Linear(query_width, word.heads * word.head_dim, False, dtype)
        self.k = Linear(width, word.head_dim, False, dtype)
        self.q_norm = make_norm(word.head_norm, word.head_dim, dtype)
        self.k_norm = make_norm(word.norm, word.head_dim, dtype)
        self.pool = make_block_pool(word.pool, word.block, word.head_dim, width, dtype)
        self.weights = Linear(width, word.heads, False, dtype) if word.head_weights else None

    def forward(self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State) -> dict[str, Tensor]:
        """Return the mask of the selected keys, bool [B, 1, S, T]; with a state, also the cache and the last keys.

        The queries are projected from `source`.
        """
        word, mask = self.word, inputs.mask_B1ST
        assert mask is not None
        q_BWSI, k_B1SI, tail = self.operands(x_BSN, source_BSQ, inputs, state)
        k_B1TI, present = with_cached(k_B1SI, inputs, state)
        weights_BSW = self.head_weights(x_BSN)
        selected = select_whole_blocks(q_BWSI, k_B1TI, mask, weights_BSW, word.block, word.blocks, bool(present))
        return {**present, **tail, SELECTED: selected}

    def head_weights(self, x_BSN: Tensor) -> Tensor | None:
        """Return the weights of heads [B, S, W], if they have any."""
        return None if self.weights is None else self.weights(x_BSN)

    def operands(
        self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return queries [B, W, S, I], keys of the blocks that end with each token [B, 1, S, I], and the last keys."""
        word, interleaved = self.word, self.word.pairing == "interleaved"
        q_BWSI = self.q_norm(ops.split_heads(self.q(source_BSQ), word.heads))
        k_BSI = self.k(x_BSN)
        parts, first = [self.pool.parts(self.k_norm(k_BSI) if word.norm_order == "before" else k_BSI, x_BSN)], inputs
        pooled = parts[0].shape[-1]
        if inputs.cos_BSR is not None and inputs.sin_BSR is not None:
            # A pooled key rotates by the angles of the first token of its block, which may be of an earlier call.
            parts += [inputs.cos_BSR, inputs.sin_BSR]
        new_BSX = torch.cat(parts, dim=-1)
        all_BTX = with_tail(new_BSX, state.get(INDEXER_TAIL), word.block - 1)
        k_B1SI = self.pool(all_BTX[..., :pooled]).unsqueeze(1)
        if len(parts) > 1:
            angles = all_BTX[:, : 1 - word.block, pooled:].chunk(2, dim=-1)
            first = replace(inputs, cos_BSR=angles[0], sin_BSR=angles[1])
        k_B1SI = first.rotate(self.k_norm(k_B1SI) if word.norm_order == "after" else k_B1SI, interleaved)
        return inputs.rotate(q_BWSI, interleaved), k_B1SI, tail_state(new_BSX, state, INDEXER_TAIL, inputs.lengths_B)


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
        case words.PooledBlockIndexer():
            return PooledBlockIndexer(word, width, query_width, dtype)
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
