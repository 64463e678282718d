"""Baichuan 1 and 2 (Yang et al. 2023, section 2.2), from their formulas.

A pre-norm decoder with RMS norms and SwiGLU, whose query, key and value projections are one matrix. The 7B models have
rotary positions, the 13B models ALiBi. Baichuan 2 has a head whose rows have length one (NormHead). All four share
their keys and names, so only the spec that is named says which one a checkpoint is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, heads_of, rotate_halves, silu, turns


class Baichuan(ByHand):
    """Any of the four; `alibi` and `norm_head` are what the config does not say."""

    def __init__(
        self,
        seed: int,
        architecture: str,
        *,
        alibi: bool = False,
        norm_head: bool = False,
        width: int = 60,
        heads: int = 6,
        layers: int = 3,
        frequencies: bool = False,
        vocab: int = 151,
        **more: Any,
    ) -> None:
        hidden = 92
        self.layers, self.heads, self.eps, self.alibi, self.norm_head = layers, heads, 1e-2, alibi, norm_head
        context = {"model_max_length": 80} if alibi else {"max_position_embeddings": 80}
        config = {
            "model_type": "baichuan",
            "architectures": [architecture],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_act": "silu",
            "rms_norm_eps": self.eps,
            "tie_word_embeddings": False,
            "initializer_range": 0.02,
            **context,
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
        buffers = {}
        for n in range(layers):
            layer = f"model.layers.{n}."
            shapes |= {f"{layer}{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
            shapes |= {layer + "self_attn.W_pack.weight": (3 * width, width)}
            shapes |= {layer + "self_attn.o_proj.weight": (width, width)}
            shapes |= {f"{layer}mlp.{part}_proj.weight": (hidden, width) for part in ("gate", "up")}
            shapes |= {layer + "mlp.down_proj.weight": (width, hidden)}
            if frequencies:
                buffers[layer + "self_attn.rotary_emb.inv_freq"] = torch.ones(width // heads // 2)
        shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocab, width)}
        super().__init__(config, shapes, seed, buffers=buffers)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["model.embed_tokens.weight"][list(ids)]
        for n in range(self.layers):
            layer = f"model.layers.{n}"
            x = x + self.attention(f"{layer}.self_attn", self.rms_norm(f"{layer}.input_layernorm", x, self.eps))
            y = self.rms_norm(f"{layer}.post_attention_layernorm", x, self.eps)
            gate, up = (self.linear(f"{layer}.mlp.{part}_proj", y) for part in ("gate", "up"))
            x = x + self.linear(f"{layer}.mlp.down_proj", silu(gate) * up)
        rows = self.weights["lm_head.weight"]
        if self.norm_head:
            rows = rows / (rows * rows).sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        return self.rms_norm("model.norm", x, self.eps) @ rows.T

    def attention(self, name: str, x: Tensor) -> Tensor:
        q, k, v = (heads_of(part, self.heads) for part in self.linear(f"{name}.W_pack", x).chunk(3, dim=-1))
        if self.alibi:
            distance = torch.arange(len(x)) - torch.arange(len(x))[:, None]
            mixed = attend(q, k, v, torch.tensor(slopes(self.heads))[:, None, None] * distance)
        else:
            turn = turns(len(x), q.shape[-1], 10000.0)
            mixed = attend(rotate_halves(q, turn), rotate_halves(k, turn), v)
        return self.linear(f"{name}.o_proj", mixed)


def slopes(heads: int) -> list[float]:
    """2^(−8i/n) for n a power of two; else those of the power below, then every second one of the power above."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    return (first + [2 ** (-8 * i / (2 * power)) for i in range(1, 2 * power, 2)])[:heads]


CASES = (
    Case("first-7b", partial(Baichuan, 1, "BaiChuanForCausalLM")),
    Case("one-layer-with-buffers", partial(Baichuan, 2, "BaiChuanForCausalLM", layers=1, heads=5, frequencies=True)),
)
