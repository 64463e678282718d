"""Multi-head latent attention: the cache has one latent for each token, independent of the number of heads.

Shape suffixes as in `archc.compiler.ops.latent_attention`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from archc.archspec import vocabulary as words
from archc.compiler.contract.cross_layer import LATENT
from archc.compiler.contract.state import State
from archc.compiler.modules.attention.gate import Gate
from archc.compiler.modules.attention.indexer import make_indexer, select
from archc.compiler.modules.basic.linear import Linear, scaled
from archc.compiler.modules.basic.norm import make_norm
from archc.compiler.modules.layer_inputs import LayerInputs
from archc.compiler.modules.position.query_scale import make_learned_scale
from archc.compiler.ops import operators as ops
from archc.compiler.ops.latent_attention import latent_attention


class LatentAttention(nn.Module):
    """Attention with keys and values projected from one normed latent, plus one rotary key that all heads share.

    DeepSeek-V2 (DeepSeek-AI 2024, section 2.1).
    """

    def __init__(self, word: words.LatentAttention, position: words.Position, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.word, self.position = word, position
        key_dim = word.nope_dim + word.rope_dim
        self.scale = word.scale if word.scale is not None else 1.0 / math.sqrt(key_dim)
        queries = (word.query_latent or width) * (2 if word.queries == "both" else 1)
        if word.query_latent is None:
            self.q = Linear(width, word.heads * key_dim, False, dtype)
        else:
            self.q_down = Linear(width, word.query_latent, word.bias.down, dtype)
            self.q_norm = make_norm(word.norm, word.query_latent, dtype)
            self.q_up = Linear(queries, word.heads * key_dim, False, dtype)
        if word.latents_of is None:
            # One projection for the latent and the shared rotary key.
            self.kv_down = Linear(width, word.latent + word.rope_dim, word.bias.down, dtype)
            self.kv_norm = make_norm(word.norm, word.latent, dtype)
            self.k_rope_norm = make_norm(word.rope_norm, word.rope_dim, dtype)
        self.k_up = Linear(word.latent, word.heads * word.nope_dim, False, dtype)
        self.v_up = Linear(word.latent, word.heads * word.value_dim, False, dtype)
        gate = word.gate
        gated = queries if gate is not None and gate.source == "queries" else width
        self.gate = Gate(gate, word.heads, word.value_dim, gated, dtype) if gate is not None else None
        self.query_scale = make_learned_scale(word.query_scale, word.heads, dtype)
        self.indexer = make_indexer(word.indexer, word.heads, width, word.query_latent or width, dtype)
        self.sinks = nn.Parameter(torch.empty(word.heads, dtype=dtype)) if word.sinks else None
        self.o = Linear(word.heads * word.value_dim, width, word.bias.out, dtype)

    def forward(self, x_BSN: Tensor, inputs: LayerInputs, state: State) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, S, width] → [B, S, width], and the layer's own latents: with a state, the new state."""
        word = self.word
        source, queries_input = x_BSN, x_BSN
        if word.query_latent is not None:
            latent = self.q_down(x_BSN)
            source = queries_input = scaled(self.q_norm(latent), word.query_latent_scale)
            if word.queries == "both":
                queries_input = torch.cat((source, latent), dim=-1)
        queries = self.q(x_BSN) if word.query_latent is None else self.q_up(queries_input)
        mask, present = select(self.indexer, x_BSN, source, inputs, state)
        q_BHSN, q_BHSR = self.queries(queries, inputs)
        if word.latents_of is None:
            present[LATENT] = self.stored(x_BSN, inputs)
            if LATENT in state:
                present[LATENT] = ops.update_cache(state[LATENT], present[LATENT], inputs.write_indices_B)
        stored_B1TX = present[LATENT] if word.latents_of is None else inputs.cross_layer[LATENT]
        is_cached = inputs.write_indices_B is not None
        k_up, v_up = self.k_up.weight, self.v_up.weight
        operands = (q_BHSN, q_BHSR, stored_B1TX, k_up, v_up, mask)
        y_BHSV = latent_attention(*operands, self.scale, self.sinks, is_cached)
        if self.gate is not None:
            y_BHSV = self.gate(queries_input if self.gate.word.source == "queries" else x_BSN, y_BHSV)
        return self.o(ops.merge_heads(y_BHSV)), present

    def queries(self, projected_BSM: Tensor, inputs: LayerInputs) -> tuple[Tensor, Tensor | None]:
        """Return the parts of the queries [B, H, S, N] and [B, H, S, R], the second rotated; None if R is 0."""
        word, scale = self.word, inputs.query_scale_B1S1
        if scale is not None and self.query_scale is not None:
            scale = self.query_scale(scale)
        heads_BHSM = ops.split_heads(projected_BSM, word.heads)
        if not word.rope_dim:
            return heads_BHSM if scale is None else heads_BHSM * scale, None
        q_BHSN, q_BHSR = heads_BHSM.split([word.nope_dim, word.rope_dim], dim=-1)
        q_BHSR = self.rotate(q_BHSR, inputs)
        return (q_BHSN, q_BHSR) if scale is None else (q_BHSN * scale, q_BHSR * scale)

    def stored(self, x_BSN: Tensor, inputs: LayerInputs) -> Tensor:
        """Return the latent of each token, and after it the rotated part of its key if R is not 0, [B, 1, S, X]."""
        word, down_BSX = self.word, self.kv_down(x_BSN)
        if not word.rope_dim:
            return scaled(self.kv_norm(down_BSX), word.latent_scale).unsqueeze(1)
        latent_BSL, k_BSR = down_BSX.split([word.latent, word.rope_dim], dim=-1)
        k_B1SR = self.rotate(self.k_rope_norm(k_BSR).unsqueeze(1), inputs)
        return torch.cat((scaled(self.kv_norm(latent_BSL), word.latent_scale).unsqueeze(1), k_B1SR), dim=-1)

    def rotate(self, x_BHSR: Tensor, inputs: LayerInputs) -> Tensor:
        """Return queries or keys rotated by their positions, if positions are rotary (Su et al. 2021, eq. 34)."""
        return inputs.rotate(x_BHSR, isinstance(self.position, words.Rope) and self.position.pairing == "interleaved")
