"""Jais (Sengupta et al. 2023) and BTLM (Dey et al. 2023), from their formulas.

GPT-2's layer with ALiBi and SwiGLU, whose gate is the second matrix. The maximal update parametrization multiplies
embeddings and logits, and divides scores by the width of a head instead of its root. Matrices are stored [in, out].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.baichuan import slopes
from tests.reference.by_hand import ByHand, attend, heads_of, silu


class Jais(ByHand):
    """A tiny model of a model type and class; `more` are the multipliers, under the keys of its files."""

    def __init__(
        self, seed: int, name: str, *, embed: float, logits: float, by_width: bool, heads: int = 12, **more: Any
    ) -> None:
        width, inner, vocab, self.heads, self.layers = 60, 92, 151, heads, 3
        self.eps, self.embed, self.logits, self.by_width = 1e-1, embed, logits, by_width
        config = {
            "model_type": name.lower(),
            "architectures": [f"{name}LMHeadModel"],
            "activation_function": "swiglu",
            "vocab_size": vocab,
            "n_embd": width,
            "n_head": heads,
            "n_inner": inner,
            "n_layer": self.layers,
            "n_positions": 64,
            "layer_norm_epsilon": self.eps,
            "position_embedding_type": "alibi",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "reorder_and_upcast_attn": False,
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (vocab, width)}
        for n in range(self.layers):
            layer = f"transformer.h.{n}."
            for part, inputs, outputs in (
                ("attn.c_attn", width, 3 * width),
                ("attn.c_proj", width, width),
                ("mlp.c_fc", width, inner),
                ("mlp.c_fc2", width, inner),
                ("mlp.c_proj", inner, width),
            ):
                shapes |= {f"{layer}{part}.weight": (inputs, outputs), f"{layer}{part}.bias": (outputs,)}
            shapes |= {f"{layer}{norm}.{part}": (width,) for norm in ("ln_1", "ln_2") for part in ("weight", "bias")}
        shapes |= {f"transformer.ln_f.{part}": (width,) for part in ("weight", "bias")}
        super().__init__(config, shapes, seed, buffers={"transformer.relative_pe.slopes": torch.ones(heads, 1)})

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        table = self.weights["transformer.wte.weight"]
        x = table[list(ids)] * self.embed
        for n in range(self.layers):
            layer = f"transformer.h.{n}."
            x = x + self.attention(f"{layer}attn", self.layer_norm(f"{layer}ln_1", x, self.eps))
            y = self.layer_norm(f"{layer}ln_2", x, self.eps)
            gated = self.product(f"{layer}mlp.c_fc", y) * silu(self.product(f"{layer}mlp.c_fc2", y))
            x = x + self.product(f"{layer}mlp.c_proj", gated)
        return self.layer_norm("transformer.ln_f", x, self.eps) @ table.T * self.logits

    def product(self, name: str, x: Tensor) -> Tensor:
        return x @ self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, name: str, x: Tensor) -> Tensor:
        q, k, v = (heads_of(part, self.heads) for part in self.product(f"{name}.c_attn", x).chunk(3, dim=-1))
        if self.by_width:
            q = q / math.sqrt(q.shape[-1])
        distance = torch.arange(len(x)) - torch.arange(len(x))[:, None]
        bias = torch.tensor(slopes(self.heads))[:, None, None] * distance
        return self.product(f"{name}.c_proj", attend(q, k, v, bias))


JAIS = {"embeddings_scale": 3.5, "width_scale": 0.6, "scale_qk_dot_by_d": True}
BTLM = {"mup_embeddings_scale": 2.5, "mup_width_scale": 0.5, "mup_output_alpha": 1.5, "mup_scale_qk_dot_by_d": False}

CASES = (
    Case("jais", partial(Jais, 1, "JAIS", embed=3.5, logits=0.6, by_width=True, **JAIS)),
    Case("btlm", partial(Jais, 2, "BTLM", embed=2.5, logits=0.75, by_width=False, heads=10, **BTLM)),
)
