"""Granite with experts: transformers' GraniteMoeForCausalLM and GraniteMoeSharedForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GraniteMoeConfig, GraniteMoeSharedConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 60,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "num_local_experts": 5,
    "num_experts_per_tok": 3,
    "embedding_multiplier": 4.0,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.6,
    "logits_scaling": 2.5,
}


def granitemoe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("GraniteMoeForCausalLM", GraniteMoeConfig(**SIZES | changes), seed, respell=respell)


def granitemoeshared(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with a shared expert."""
    return make("GraniteMoeSharedForCausalLM", GraniteMoeSharedConfig(**SIZES | changes), seed)


CASES = (
    Case("published", partial(granitemoe, 1, older_rope)),
    Case("shared", partial(granitemoeshared, 2, shared_intermediate_size=28, attention_bias=True)),
)
