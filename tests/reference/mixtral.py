"""Mixtral: transformers' MixtralForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MixtralConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "num_local_experts": 5,
    "num_experts_per_tok": 2,
}


def mixtral(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("MixtralForCausalLM", MixtralConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("top-2", partial(mixtral, 1)),
    Case("older-file", partial(mixtral, 2, older_rope, num_experts_per_tok=3, hidden_act="gelu_pytorch_tanh")),
    Case("window", partial(mixtral, 3, sliding_window=4, num_local_experts=8, num_experts_per_tok=4)),
)
