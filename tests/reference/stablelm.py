"""StableLM: transformers' StableLmForCausalLM in the arrangements of 3B, 2-1.6B and 2-12B."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import StableLmConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 96,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 170.0, "partial_rotary_factor": 0.375},
}


def stablelm(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny StableLM with the given differences from SIZES."""
    return make("StableLmForCausalLM", StableLmConfig(**SIZES | changes), seed, respell=respell)


def older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings as files before transformers 5 spell them."""
    rope = config.pop("rope_parameters")
    return config | {"rope_theta": rope["rope_theta"], "partial_rotary_factor": rope["partial_rotary_factor"]}


CASES = (
    Case("3b", partial(stablelm, 1, older_keys, num_key_value_heads=6)),
    Case("1.6b", partial(stablelm, 2, use_qkv_bias=True)),
    Case("12b", partial(stablelm, 3, qk_layernorm=True, use_parallel_residual=True)),
    Case("tied", partial(stablelm, 4, qk_layernorm=True, tie_word_embeddings=True)),
)
