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
        present = dict[str, Tensor]()
        q_BWSI, k_B1TI, weights_BSW = self.operands(x_BSN, source_BSQ, inputs)
        if INDEXER_KEY in state:
            k_B1TI = ops.update_cache(state[INDEXER_KEY], k_B1TI, inputs.write_indices_B)
            present[INDEXER_KEY] = k_B1TI
        cached, mask = INDEXER_KEY in state, inputs.mask_B1ST
        present[SELECTED] = select_keys(q_BWSI, k_B1TI, weights_BSW, mask, self.word.keys, cached)
        return present

    def operands(self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries [B, W, S, I], keys [B, 1, S, I] and weights of heads [B, S, W]."""
        q_BWSI = rotate(
            ops.split_heads(self.q(self.q_input_norm(source_BSQ)), self.word.heads), self.word.pairing, inputs
        )
        k_B1SI = rotate(self.k_norm(self.k(x_BSN)).unsqueeze(1), self.word.pairing, inputs)
        return q_BWSI, k_B1SI, self.weights(x_BSN)


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
        present = dict[str, Tensor]()
        q_BWSI, k_B1TI = self.operands(x_BSN, inputs)
        if INDEXER_KEY in state:
            k_B1TI = ops.update_cache(state[INDEXER_KEY], k_B1TI, inputs.write_indices_B)
            present[INDEXER_KEY] = k_B1TI
        present[SELECTED] = select_blocks(
            q_BWSI, k_B1TI, mask, self.heads, word.block, word.blocks, word.last, INDEXER_KEY in state
        )
        return present

    def operands(self, x_BSN: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor]:
        """Return queries [B, W, S, I] and keys [B, 1, S, I]."""
        q_BWSI = self.q_norm(ops.split_heads(self.q(x_BSN), self.word.heads))
        k_B1SI = self.k_norm(self.k(x_BSN)).unsqueeze(1)
        return rotate(q_BWSI, self.word.pairing, inputs), rotate(k_B1SI, self.word.pairing, inputs)


def rotate(x_BHSI: Tensor, pairing: str, inputs: LayerInputs) -> Tensor:
    """Return queries or keys whose first dims are rotated by the angles of the attention."""
    cos, sin = inputs.cos_BSR, inputs.sin_BSR
    if cos is None or sin is None:
        return x_BHSI
    return ops.rotary(x_BHSI, cos, sin, pairing == "interleaved")


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
