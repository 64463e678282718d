"""Nemotron-NAS (Bercovich et al. 2024, Puzzle), from its formulas: a llama whose layers differ in their branches.

Each branch of a layer is whole, one matrix, or absent. Key heads and the width of the MLP differ from layer to layer.
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

WIDTH, VOCAB, HEADS, SIZE, EPS, THETA = 60, 151, 6, 10, 1e-1, 300.0
# Two thirds of width times multiplier, 68, 280 and 12, in whole blocks of 256 channels.
INNER = {1.7: 256, 7.0: 512, 0.3: 256}


def block(attention: int | str, ffn: float | str, window: int | None = None) -> dict[str, dict[str, Any]]:
    """One entry of `block_configs`: query heads of each key head, and the multiplier; or `no_op`, or `linear`."""
    return {
        "attention": {
            "n_heads_in_group": attention if isinstance(attention, int) else None,
            "no_op": attention == "no_op",
            "num_sink_tokens": None,
            "replace_with_linear": attention == "linear",
            "sparsify": None,
            "window_length": window,
        },
        "ffn": {
            "ffn_mult": ffn if isinstance(ffn, float) else None,
            "no_op": ffn == "no_op",
            "replace_with_linear": ffn == "linear",
            "sparsify": None,
        },
    }


class NemotronNas(ByHand):
    """A tiny model with the given blocks."""

    def __init__(self, seed: int, blocks: list[dict[str, dict[str, Any]]], *, bias: bool = False) -> None:
        self.blocks = blocks
        config = {
            "model_type": "nemotron-nas",
            "architectures": ["DeciLMForCausalLM"],
            "attention_bias": bias,
            "block_configs": blocks,
            "hidden_act": "silu",
            "hidden_size": WIDTH,
            "intermediate_size": None,
            "max_position_embeddings": 64,
            "mlp_bias": bias,
            "num_attention_heads": HEADS,
            "num_hidden_layers": len(blocks),
            "num_key_value_heads": None,
            "pretraining_tp": 1,
            "rms_norm_eps": EPS,
            "rope_scaling": None,
            "rope_theta": THETA,
            "tie_word_embeddings": False,
            "vocab_size": VOCAB,
        }
        linears: dict[str, tuple[int, int]] = {}
        norms = []
        for n, each in enumerate(blocks):
            layer, attention, ffn = f"model.layers.{n}.", each["attention"], each["ffn"]
            norms += [] if attention["no_op"] else [f"{layer}input_layernorm"]
            norms += [] if ffn["no_op"] else [f"{layer}post_attention_layernorm"]
            if attention["replace_with_linear"]:
                linears[f"{layer}self_attn.linear_attn"] = (WIDTH, WIDTH)
            elif not attention["no_op"]:
                keys = WIDTH // attention["n_heads_in_group"]
                rows = {"q": WIDTH, "k": keys, "v": keys, "o": WIDTH}
                linears |= {f"{layer}self_attn.{part}_proj": (size, WIDTH) for part, size in rows.items()}
            if ffn["replace_with_linear"]:
                linears[f"{layer}mlp.linear_mlp"] = (WIDTH, WIDTH)
            elif not ffn["no_op"]:
                inner = INNER[ffn["ffn_mult"]]
                linears |= {f"{layer}mlp.{part}_proj": (inner, WIDTH) for part in ("gate", "up")}
                linears[f"{layer}mlp.down_proj"] = (WIDTH, inner)
        shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linears.items()}
        if bias:
            shapes |= {f"{name}.bias": shape[:1] for name, shape in linears.items()}
        shapes |= {f"{name}.weight": (WIDTH,) for name in [*norms, "model.norm"]}
        shapes |= {"model.embed_tokens.weight": (VOCAB, WIDTH), "lm_head.weight": (VOCAB, WIDTH)}
        super().__init__(config, shapes, seed)

    def row(self, ids: Sequence[int]) -> Tensor:
        """Logits [seq, vocab] of one row of ids."""
        x = self.weights["model.embed_tokens.weight"][list(ids)]
        for n, each in enumerate(self.blocks):
            layer = f"model.layers.{n}."
            if not each["attention"]["no_op"]:
                y = self.rms_norm(f"{layer}input_layernorm", x, EPS)
                x = x + self.attention(f"{layer}self_attn.", y, each["attention"])
            if not each["ffn"]["no_op"]:
                y = self.rms_norm(f"{layer}post_attention_layernorm", x, EPS)
                x = x + self.mlp(f"{layer}mlp.", y, each["ffn"])
        return self.linear("lm_head", self.rms_norm("model.norm", x, EPS))

    def attention(self, name: str, x: Tensor, block: dict[str, Any]) -> Tensor:
        if block["replace_with_linear"]:
            return self.linear(f"{name}linear_attn", x)
        keys, turn = HEADS // block["n_heads_in_group"], turns(len(x), SIZE, THETA)
        q = rotate_halves(heads_of(self.linear(f"{name}q_proj", x), HEADS), turn)
        k = rotate_halves(heads_of(self.linear(f"{name}k_proj", x), keys), turn)
        mask = None
        if block["window_length"] is not None:
            positions = torch.arange(len(x))
            far = positions[:, None] - positions >= block["window_length"]
            mask = torch.zeros(HEADS, len(x), len(x)).masked_fill(far, -math.inf)
        return self.linear(f"{name}o_proj", attend(q, k, heads_of(self.linear(f"{name}v_proj", x), keys), mask))

    def mlp(self, name: str, x: Tensor, block: dict[str, Any]) -> Tensor:
        if block["replace_with_linear"]:
            return self.linear(f"{name}linear_mlp", x)
        gate, up = (self.linear(f"{name}{part}_proj", x) for part in ("gate", "up"))
        return self.linear(f"{name}down_proj", silu(gate) * up)


REPLACED = [block(2, "linear"), block("linear", 1.7), block(3, "no_op", 5), block("no_op", "no_op"), block(1, 0.3)]
CASES = (
    Case("removed", partial(NemotronNas, 1, [block(3, 1.7), block("no_op", 7.0), block(2, 0.3), block(6, 1.7)])),
    Case("replaced", partial(NemotronNas, 2, REPLACED, bias=True)),
)
