"""Yuan 2.0 (Wu et al. 2023), from its formulas: section 2.1 for the localized filter.

A pre-norm decoder with RMS norms and rotary positions. Before queries and keys, the normed input passes two causal
convolutions of two taps, is added to what they give, and is normed again; values are made of it before that. The
projections of queries and keys are laid end to end and cut again, a query and a key for each head. In the gated MLP the
branch called `up` is the activated one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archc.proof.case import Case
from tests.reference.by_hand import ByHand, attend, rotate_halves, silu, turns

FILTER_EPS = 1e-6


class Yuan2(ByHand):
    """Heads of a width of their own are unknown to it: hidden_size / heads."""

    def __init__(
        self,
        seed: int,
        *,
        heads: int = 6,
        layers: int = 3,
        tied: bool = True,
        frequencies: bool = False,
        vocab: int = 151,
        **more: Any,
    ) -> None:
        width, hidden = 60, 92
        self.layers, self.heads, self.eps, self.tied = layers, heads, 1e-2, tied
        config = {
            "model_type": "yuan",
            "architectures": ["YuanForCausalLM"],
            "vocab_size": vocab,
            "hidden_size": width,
            "intermediate_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_act": "silu",
            "rms_norm_eps": self.eps,
            "model_max_length": 80,
            "causal_mask": True,
            "reset_attention_mask": True,
            "reset_position_ids": True,
            "use_flash_attention": False,
            "use_loss_mask": False,
            "dropout": 0.1,
            "initializer_range": 0.02,
            "use_cache": True,
            "tie_word_embeddings": tied,
            **more,
        }
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width)}
        buffers = {}
        for n in range(layers):
            layer = f"model.layers.{n}."
            shapes |= {f"{layer}{norm}_layernorm.weight": (width,) for norm in ("input", "post_attention")}
            shapes |= {f"{layer}self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
            for conv, sizes in (("conv1", (width // 2, width)), ("conv2", (width, width // 2))):
                shapes[f"{layer}self_attn.lf_gate.{conv}.weight"] = (*sizes, 2, 1)
                shapes[f"{layer}self_attn.lf_gate.{conv}.bias"] = sizes[:1]
            shapes[layer + "self_attn.lf_gate.output_layernorm.weight"] = (width,)
            shapes |= {f"{layer}mlp.{part}_proj.weight": (hidden, width) for part in ("gate", "up")}
            shapes |= {layer + "mlp.down_proj.weight": (width, hidden)}
            if frequencies:
                buffers[layer + "self_attn.rotary_emb.inv_freq"] = torch.ones(width // heads // 2)
        shapes["model.norm.weight"] = (width,)
        if not tied:
            shapes["lm_head.weight"] = (vocab, width)
        # Filtered activations are of about 1e-3, so that the filter's eps of 1e-6 counts.
        gains = {"input_layernorm.weight": 1e-3, "conv1.bias": 1e-3, "conv2.bias": 1e-3, "v_proj.weight": 1e3}
        super().__init__(config, shapes, seed, gains=gains, buffers=buffers)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        table = self.weights["model.embed_tokens.weight"]
        x = table[list(ids)]
        for n in range(self.layers):
            layer = f"model.layers.{n}"
            x = x + self.attention(f"{layer}.self_attn", self.rms_norm(f"{layer}.input_layernorm", x, self.eps))
            y = self.rms_norm(f"{layer}.post_attention_layernorm", x, self.eps)
            gate, up = (self.linear(f"{layer}.mlp.{part}_proj", y) for part in ("gate", "up"))
            x = x + self.linear(f"{layer}.mlp.down_proj", gate * silu(up))
        return self.rms_norm("model.norm", x, self.eps) @ (table if self.tied else self.weights["lm_head.weight"]).T

    def attention(self, name: str, x: Tensor) -> Tensor:
        length, width = x.shape
        inner = self.convolve(f"{name}.lf_gate.conv2", self.convolve(f"{name}.lf_gate.conv1", x))
        filtered = self.rms_norm(f"{name}.lf_gate.output_layernorm", x + inner, FILTER_EPS)
        laid = torch.cat([self.linear(f"{name}.{part}_proj", filtered) for part in "qk"], dim=-1)
        cut = laid.reshape(length, self.heads, 2, width // self.heads).permute(2, 1, 0, 3)
        v = self.linear(f"{name}.v_proj", x).reshape(length, self.heads, -1).transpose(0, 1)
        turn = turns(length, width // self.heads, 10000.0)
        return self.linear(f"{name}.o_proj", attend(rotate_halves(cut[0], turn), rotate_halves(cut[1], turn), v))

    def convolve(self, name: str, x: Tensor) -> Tensor:
        """Each token's input and the one before it, zero before the first, through a tap each; and the bias."""
        kernel = self.weights[f"{name}.weight"][..., 0]
        before = torch.cat((torch.zeros_like(x[:1]), x[:-1]))
        return before @ kernel[..., 0].T + x @ kernel[..., 1].T + self.weights[f"{name}.bias"]


CASES = (
    Case("2b", partial(Yuan2, 1)),
    Case("untied-with-buffers", partial(Yuan2, 2, tied=False, frequencies=True)),
    Case("odd-heads", partial(Yuan2, 3, heads=5, layers=2, eod_token_id=77185)),
)
