"""OpenELM (Mehta et al. 2024), from its formulas: heads and MLP widths grow from layer to layer, queries and keys are
normed head by head before they rotate, and every eps is 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_halves, silu, turns

EPS = 1e-6


class OpenElm(ByHand):
    """Layers of the given query heads, key heads and MLP multipliers."""

    def __init__(
        self,
        seed: int,
        heads: Sequence[int],
        kv_heads: Sequence[int],
        multipliers: Sequence[float],
        widths: Sequence[int],
        *,
        tied: bool = True,
        qk_norm: bool = True,
        vocab: int = 151,
        **more: Any,
    ) -> None:
        width, size = 60, 10
        self.heads, self.kv_heads, self.size, self.theta = heads, kv_heads, size, 150
        self.widths, self.tied, self.qk_norm = widths, tied, qk_norm
        config = {
            "model_type": "openelm",
            "architectures": ["OpenELMForCausalLM"],
            "vocab_size": vocab,
            "model_dim": width,
            "num_transformer_layers": len(heads),
            "head_dim": size,
            "num_query_heads": heads,
            "num_kv_heads": kv_heads,
            "ffn_multipliers": multipliers,
            "ffn_dim_divisor": 16,
            "ffn_with_glu": True,
            "activation_fn_name": "swish",
            "normalization_layer_name": "rms_norm",
            "normalize_qk_projections": qk_norm,
            "max_context_length": 80,
            "rope_freq_constant": self.theta,
            "rope_max_length": 160,
            "share_input_output_layers": tied,
            "qkv_multipliers": [0.5, 1.0],
            "num_gqa_groups": 3,
            "use_cache": True,
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"transformer.token_embeddings.weight": (vocab, width)}
        for n in range(len(heads)):
            layer = f"transformer.layers.{n}."
            shapes |= {layer + "attn.qkv_proj.weight": ((heads[n] + 2 * kv_heads[n]) * size, width)}
            shapes |= {layer + "attn.out_proj.weight": (width, heads[n] * size)}
            shapes |= {f"{layer}attn.{part}_norm.weight": (size,) for part in "qk" if qk_norm}
            shapes |= {layer + "ffn.proj_1.weight": (2 * widths[n], width)}
            shapes |= {layer + "ffn.proj_2.weight": (width, widths[n])}
            shapes |= {f"{layer}{part}_norm.weight": (width,) for part in ("attn", "ffn")}
        shapes["transformer.norm.weight"] = (width,)
        if not tied:
            shapes["lm_head.weight"] = (vocab, width)
        # A residual stream, queries and keys of about 1e-3, next to which the eps of 1e-6 counts.
        gains = {"token_embeddings.weight": 5e-3, "proj_2.weight": 1e-3, "transformer.norm.weight": 300.0}
        gains["qkv_proj.weight" if qk_norm else "out_proj.weight"] = 1e-3
        super().__init__(config, shapes, seed, gains=gains | ({} if tied else {"lm_head.weight": 5e-3}))

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        table = self.weights["transformer.token_embeddings.weight"]
        x = table[list(ids)]
        for n in range(len(self.heads)):
            layer = f"transformer.layers.{n}."
            x = x + self.attention(n, layer + "attn", self.rms_norm(layer + "attn_norm", x, EPS))
            gate, up = self.linear(layer + "ffn.proj_1", self.rms_norm(layer + "ffn_norm", x, EPS)).chunk(2, dim=-1)
            x = x + self.linear(layer + "ffn.proj_2", silu(gate) * up)
        return self.rms_norm("transformer.norm", x, EPS) @ (table if self.tied else self.weights["lm_head.weight"]).T

    def attention(self, n: int, name: str, x: Tensor) -> Tensor:
        queries, keys = self.heads[n], self.kv_heads[n]
        every = heads_of(self.linear(f"{name}.qkv_proj", x), queries + 2 * keys)
        q, k, v = every.split([queries, keys, keys])
        if self.qk_norm:
            q, k = (self.rms_norm(f"{name}.{part}_norm", y, EPS) for part, y in (("q", q), ("k", k)))
        turn = turns(len(x), self.size, self.theta)
        return self.linear(f"{name}.out_proj", attend(rotate_halves(q, turn), rotate_halves(k, turn), v))


# Widths worked out by hand: the nearest multiple of 16 to multiplier · 60, and the next where a tenth would be lost.
GROWING: dict[str, Any] = {
    "heads": [3, 6, 9],
    "kv_heads": [1, 2, 3],
    "multipliers": [0.9, 1.1, 2.0],
    "widths": [64, 64, 128],
}

CASES = (
    Case("growing", partial(OpenElm, 1, **GROWING)),
    Case("untied", partial(OpenElm, 2, **GROWING, tied=False)),
    Case("smallest", partial(OpenElm, 3, [2, 4, 6], [2, 1, 2], [0.1, 0.38, 1.0], [16, 32, 64], tied=False)),
    Case("without-norms", partial(OpenElm, 4, **GROWING, qk_norm=False)),
)
