"""Orion: the arithmetic of transformers' StableLmForCausalLM, whose whole heads rotate, under the keys of Orion."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import StableLmConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import named

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 1.0},
}
ABSENT = ("use_qkv_bias", "qk_layernorm", "use_parallel_residual", "partial_rotary_factor")


def orion(seed: int, **changes: Any) -> FromTransformers:
    """A tiny Orion with the given differences from SIZES."""
    return make("StableLmForCausalLM", StableLmConfig(**SIZES | changes), seed, respell=respelled)


def respelled(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of Orion's files, in which the eps of the layer norms has the name of an RMS norm's."""
    config = named("orion", "OrionForCausalLM")(config)
    more = {"rms_norm_eps": config.pop("layer_norm_eps"), "attention_bias": False, "max_sequence_length": 64}
    return {key: value for key, value in config.items() if key not in ABSENT} | more | {"pretraining_tp": 1}


CASES = (
    Case("published", partial(orion, 1)),
    Case("grouped-tied", partial(orion, 2, num_key_value_heads=2, tie_word_embeddings=True)),
)
