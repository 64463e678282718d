"""Phi 1, 1.5 and 2: transformers' PhiForCausalLM, with and without norms on queries and keys."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PhiConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 170.0, "partial_rotary_factor": 0.4},
}


def phi(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny Phi with the given differences from SIZES."""
    return make("PhiForCausalLM", PhiConfig(**SIZES | changes), seed, respell=respell)


def older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings as files before transformers 5 spell them."""
    rope = config.pop("rope_parameters")
    keys = {"rope_theta": rope["rope_theta"], "partial_rotary_factor": rope["partial_rotary_factor"]}
    return config | keys | {"rope_scaling": None}


CASES = (
    Case("plain", partial(phi, 1)),
    Case("query-key-norm", partial(phi, 2, qk_layernorm=True)),
    Case("grouped-older-file", partial(phi, 3, older_keys, num_key_value_heads=2)),
    Case("tied", partial(phi, 4, tie_word_embeddings=True, hidden_act="relu")),
)
