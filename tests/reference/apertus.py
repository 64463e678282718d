"""Apertus: transformers' ApertusForCausalLM, its activation's learned numbers far from where training starts."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ApertusConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "head_dim": 14,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 6.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 0.7,
    "high_freq_factor": 3.0,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The switches that the files of the 8B have besides."""
    return older_rope(config) | {"mlp_bias": False, "post_norm": False, "qk_norm": True}


def apertus(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("ApertusForCausalLM", ApertusConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("plain", partial(apertus, 1)),
    Case("published", partial(apertus, 2, published, rope_parameters=LLAMA3), length=31),
    Case("biased", partial(apertus, 3, attention_bias=True, tie_word_embeddings=True, num_key_value_heads=6)),
    Case("silu", partial(apertus, 4, hidden_act="silu")),
)
