"""Laguna: transformers' LagunaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LagunaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "moe_intermediate_size": 20,
    "shared_expert_intermediate_size": 28,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_routed_scaling_factor": 1.7,
    "sliding_window": 4,
}
ROPE: dict[str, Any] = {
    "full_attention": {
        "rope_type": "yarn",
        "rope_theta": 300.0,
        "partial_rotary_factor": 0.5,
        "factor": 4.0,
        "original_max_position_embeddings": 24,
        "beta_fast": 0.2,
        "beta_slow": 0.05,
    },
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0, "partial_rotary_factor": 1.0},
}


def laguna(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("LagunaForCausalLM", LagunaConfig(**SIZES | changes), seed)


CASES = (
    Case(
        "by-layer",
        partial(
            laguna,
            1,
            rope_parameters=ROPE,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            num_attention_heads_per_layer=[8, 6, 4],
            mlp_layer_types=["sparse", "dense", "sparse"],
        ),
        length=29,
    ),
    Case("channels", partial(laguna, 2, gating="per-element", attention_bias=True)),
)
