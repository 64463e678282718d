"""Grok-1 (xAI 2024), from what its release says: sandwich norms, capped scores, two of its experts unnormalized.

Embeddings, scores and logits are each multiplied by a number of the config. The activation is the tanh form of the
GELU, as it was trained; the PyTorch port computes the exact one. Names are the port's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, gelu_tanh, heads_of, rotate_halves, turns
from tests.reference.mixtures import routed


class Grok1(ByHand):
    """`exact` computes the GELU by the error function."""

    def __init__(
        self,
        seed: int,
        *,
        experts: int = 5,
        tied: bool = True,
        exact: bool = False,
        vocab: int = 97,
        theta: float = 300.0,
        **more: Any,
    ) -> None:
        width, hidden, self.heads, self.keys, head = 36, 28, 6, 2, 6
        self.layers, self.eps, self.tied, self.exact, self.size = 2, 0.1, tied, exact, head
        config = {
            "model_type": "grok-1",
            "architectures": ["Grok1ModelForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.keys,
            "num_experts": experts,
            "num_experts_per_tok": 2,
            "attn_output_multiplier": 0.7,
            "embedding_multiplier_scale": 3.5,
            "output_multiplier_scale": 0.6,
            "max_attn_value": 1.5,
            "rms_norm_eps": self.eps,
            "rope_theta": theta,
            "max_position_embeddings": 64,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
            "tie_word_embeddings": tied,
            "use_cache": True,
            **({"hidden_act": "gelu"} if exact else {}),
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
        norms = {}
        for n in range(self.layers):
            layer = f"model.layers.{n}."
            norms |= {
                f"{layer}{place}_{part}_norm.scale": width for place in ("pre", "post") for part in ("attn", "moe")
            }
            shapes |= {f"{layer}attn.{part}_proj.weight": (width, width) for part in "qo"}
            shapes |= {f"{layer}attn.{part}_proj.weight": (self.keys * head, width) for part in "kv"}
            shapes[f"{layer}moe_block.gate.weight"] = (experts, width)
            for expert in range(experts):
                name = f"{layer}moe_block.experts.{expert}"
                shapes |= {f"{name}.{part}.weight": (hidden, width) for part in ("linear", "linear_v")}
                shapes[f"{name}.linear_1.weight"] = (width, hidden)
        if not tied:
            shapes["lm_head.weight"] = (vocab, width)
        norms["model.norm.scale"] = width
        super().__init__(config, shapes | {name: (size,) for name, size in norms.items()}, seed)
        for name in norms:
            self.weights[name] += 1.0

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        table = self.weights["model.embed_tokens.weight"]
        x = table[list(ids)] * self.config["embedding_multiplier_scale"]
        for n in range(self.layers):
            layer = f"model.layers.{n}"
            y = self.attention(f"{layer}.attn", self.scaled(f"{layer}.pre_attn_norm", x))
            x = x + self.scaled(f"{layer}.post_attn_norm", y)
            y = self.mixture(f"{layer}.moe_block", self.scaled(f"{layer}.pre_moe_norm", x))
            x = x + self.scaled(f"{layer}.post_moe_norm", y)
        head = table if self.tied else self.weights["lm_head.weight"]
        return self.scaled("model.norm", x) @ head.T * self.config["output_multiplier_scale"]

    def scaled(self, name: str, x: Tensor) -> Tensor:
        """An RMS norm, whose weight is called a scale."""
        return x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + self.eps) * self.weights[f"{name}.scale"]

    def attention(self, name: str, x: Tensor) -> Tensor:
        q, k, v = (self.linear(f"{name}.{part}_proj", x) for part in "qkv")
        turn, cap = turns(len(x), self.size, self.config["rope_theta"]), self.config["max_attn_value"]
        q, k = rotate_halves(heads_of(q, self.heads), turn), rotate_halves(heads_of(k, self.keys), turn)
        v, mixed = heads_of(v, self.keys), []
        for head in range(self.heads):
            served = head // (self.heads // self.keys)
            scores = cap * torch.tanh(q[head] @ k[served].T * self.config["attn_output_multiplier"] / cap)
            future = torch.ones(len(x), len(x)).triu(1).bool()
            mixed.append(scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v[served])
        return self.linear(f"{name}.o_proj", torch.cat(mixed, dim=-1))

    def mixture(self, name: str, x: Tensor) -> Tensor:
        scores = self.linear(f"{name}.gate", x).softmax(dim=-1)
        return routed(scores, 2, lambda e, row: self.expert(f"{name}.experts.{e}", row), x, normalize=False)

    def expert(self, name: str, x: Tensor) -> Tensor:
        return self.linear(
            f"{name}.linear_1", self.gelu(self.linear(f"{name}.linear", x)) * self.linear(f"{name}.linear_v", x)
        )

    def gelu(self, x: Tensor) -> Tensor:
        """x · Φ(x), or its tanh form (Hendrycks & Gimpel 2016)."""
        if self.exact:
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return gelu_tanh(x)


CASES = (
    Case("trained", partial(Grok1, 1)),
    Case("port", partial(Grok1, 2, exact=True, tied=False, experts=8)),
)
