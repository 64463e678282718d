"""PhiMoE: transformers' PhimoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PhimoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0},
    "num_local_experts": 6,
    "router_jitter_noise": 0.3,
    "attention_bias": True,
    "lm_head_bias": True,
}


def phimoe(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("PhimoeForCausalLM", PhimoeConfig(**SIZES | changes), seed)


CASES = (
    Case("biases", partial(phimoe, 1)),
    Case("window", partial(phimoe, 2, sliding_window=4, attention_bias=False, lm_head_bias=False)),
)
