"""Compressed keys: sums over blocks of tokens, in a cache with one slot for each block.

Shape suffixes as in `archc.compiler.ops.key_blocks`, and: K key heads, D their width, I width of an indexer's head,
W heads of an indexer, Q width of what queries are projected from.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.state import COMPRESSED, State, key_name, rows_of_key, tail_name
from archc.compiler.modules.attention.block_pools import weighted_sums
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.basic.shift import tail_state, with_tail
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.ops import operators as ops
from archc.compiler.ops.key_blocks import mask_of_blocks, rows_of_blocks
from archc.compiler.ops.key_selection import select_keys


class Compressor(nn.Module):
    """norm(Σ_j softmax_j(Z x_j + b_j) ⊙ W x_j) over the tokens j of each block (DeepSeek-V4, eqs. 9–12 and 20–23).

    With an overlap, W, Z and b have two parts: for tokens of the block before, and for those of the block itself.
    """

    def __init__(
        self, word: words.Compression, norm: words.Norm, heads: int, head_dim: int, width: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.word, self.heads, self.inner = word, heads, heads * head_dim
        self.parts = 2 if word.overlap else 1
        self.key = Linear(width, self.parts * self.inner, False, dtype)
        self.gate = Linear(width, self.parts * self.inner, False, dtype)
        self.bias = nn.Parameter(torch.empty(word.block, self.parts * self.inner, dtype=torch.float32))
        self.norm = make_norm(norm, head_dim, dtype)

    def forward(
        self, x_BSN: Tensor, inputs: LayerInputs, state: State, name: str, interleaved: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the compressed keys [B, K, E, D], of earlier calls too, and the new state under the name."""
        new_BSX = self.rows(x_BSN, inputs)
        count = rows_of_key(self.word)
        all_BTX = with_tail(new_BSX, state.get(tail_name(name)), count - 1)
        starts_B = inputs.write_indices_B
        if starts_B is None:
            starts_B = torch.zeros(1, dtype=torch.int64, device=x_BSN.device).expand(x_BSN.shape[0])
        rows_BJLX = rows_of_blocks(all_BTX, starts_B, self.word.block, count)
        keys_BKJD = self.rotated(self.norm(self.sums(rows_BJLX)), rows_BJLX, inputs, interleaved)
        if key_name(name) not in state:
            return keys_BKJD, {}
        slots_B = torch.div(starts_B, self.word.block, rounding_mode="trunc")
        cache_BKED = ops.update_cache(state[key_name(name)], keys_BKJD, slots_B)
        return cache_BKED, {
            key_name(name): cache_BKED,
            **tail_state(new_BSX, state, tail_name(name), inputs.lengths_B),
        }

    def rows(self, x_BSN: Tensor, inputs: LayerInputs) -> Tensor:
        """Return what a later call reads of each token, [B, S, X]: projections, the presence of a token, and angles."""
        parts = [self.key(x_BSN), self.gate(x_BSN)]
        if self.word.overlap:
            # The first block has none before it: its rows are the zeros of the state before the first call.
            parts.append(torch.ones_like(x_BSN[..., :1]))
        if inputs.cos_BSR is not None and inputs.sin_BSR is not None:
            parts += [inputs.cos_BSR, inputs.sin_BSR]
        return torch.cat(parts, dim=-1)

    def sums(self, rows_BJLX: Tensor) -> Tensor:
        """Return the weighted sum of the tokens of each block by heads, [B, K, J, D]."""
        size, inner = self.parts * self.inner, self.inner
        key, gate = rows_BJLX[..., :size], rows_BJLX[..., size : 2 * size]
        bias_LD: Tensor = self.bias
        if self.word.overlap:
            key, gate = (self.halves(x, dim=2) for x in (key, gate))
            bias_LD = torch.cat((self.bias[:, :inner], self.bias[:, inner:]), dim=0)
        logits_BJLD = gate.float() + bias_LD
        if self.word.overlap:
            presence = rows_BJLX[..., 2 * size : 2 * size + 1]
            is_there = presence > torch.zeros_like(presence)
            logits_BJLD = torch.where(is_there, logits_BJLD, torch.finfo(torch.float32).min)
        return ops.split_heads(weighted_sums(key, logits_BJLD), self.heads)

    def halves(self, x_BJLX: Tensor, dim: int) -> Tensor:
        """Return the first part of the block before, and the second one of the block itself, [B, J, L, D]."""
        block, inner = self.word.block, self.inner
        return torch.cat((x_BJLX[:, :, :block, :inner], x_BJLX[:, :, block:, inner:]), dim=dim)

    def rotated(self, keys_BKJD: Tensor, rows_BJLX: Tensor, inputs: LayerInputs, interleaved: bool) -> Tensor:
        """Return keys rotated by the angles of the first token of each block."""
        if inputs.cos_BSR is None:
            return keys_BKJD
        angles = inputs.cos_BSR.shape[-1]
        first_BJX = rows_BJLX[:, :, -self.word.block]
        cos_BJR, sin_BJR = first_BJX[..., -2 * angles :].chunk(2, dim=-1)
        return replace(inputs, cos_BSR=cos_BJR, sin_BSR=sin_BJR).rotate(keys_BKJD, interleaved)


class CompressedKeyIndexer(nn.Module):
    """The compressed keys with the highest Σ_w weight_w(x) · ReLU(q_w · k) for each query (DeepSeek-V4, eqs. 13–17).

    Factors that all scores of a query share are left out: they change no order.
    """

    def __init__(self, word: words.Compression, width: int, query_width: int, dtype: torch.dtype) -> None:
        super().__init__()
        indexer = word.indexer
        assert indexer is not None
        self.word = indexer
        self.q = Linear(query_width, indexer.heads * indexer.head_dim, False, dtype)
        self.weights = Linear(width, indexer.heads, False, dtype)
        self.compressor = Compressor(word, indexer.norm, 1, indexer.head_dim, width, dtype)

    def forward(
        self, x_BSN: Tensor, source_BSQ: Tensor, blocks_B1SN: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mask without all but the selected keys, [B, 1, S, N], and the new state."""
        q_BWSI, keys_B1EI, weights_BSW, present = self.operands(x_BSN, source_BSQ, inputs, state)
        return select_keys(q_BWSI, keys_B1EI, weights_BSW, blocks_B1SN, self.word.keys, True), present

    def operands(
        self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Return queries [B, W, S, I], compressed keys [B, 1, E, I], weights of heads [B, S, W], and the new state."""
        interleaved = self.word.pairing == "interleaved"
        keys_B1EI, present = self.compressor(x_BSN, inputs, state, f"{COMPRESSED}.indexer", interleaved)
        q_BWSI = inputs.rotate(ops.split_heads(self.q(source_BSQ), self.word.heads), interleaved)
        return q_BWSI, keys_B1EI, self.weights(x_BSN), present


class CompressedKeys(nn.Module):
    """The compressed keys of attention, and the mask of those that each query attends to."""

    def __init__(
        self, word: words.GroupedQueryAttention, position: words.Position, width: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        compression = word.compression
        assert compression is not None
        self.word = compression
        self.interleaved = isinstance(position, words.Rope) and position.pairing == "interleaved"
        self.compressor = Compressor(compression, compression.norm, word.kv_heads, word.head_dim, width, dtype)
        queries = width if word.query_latent is None else word.query_latent.width
        indexes = compression.indexer is not None
        self.indexer = CompressedKeyIndexer(compression, width, queries, dtype) if indexes else None

    def forward(
        self, x_BSN: Tensor, source_BSQ: Tensor, inputs: LayerInputs, state: State
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the keys [B, K, E, D], their mask [B, 1, S, N], and the new state."""
        assert inputs.past_mask_B1ST is not None
        keys_BKED, present = self.compressor(x_BSN, inputs, state, COMPRESSED, self.interleaved)
        blocks_B1SN = mask_of_blocks(inputs.past_mask_B1ST, self.word.block)
        if self.indexer is not None:
            blocks_B1SN, selection = self.indexer(x_BSN, source_BSQ, blocks_B1SN, inputs, state)
            present |= selection
        return keys_BKED, blocks_B1SN, present
