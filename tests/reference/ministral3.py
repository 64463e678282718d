"""Ministral 3: transformers' Ministral3ForCausalLM, and the text model of Mistral 3 with pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Ministral3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 300.0,
        "factor": 8.0,
        "original_max_position_embeddings": 8,
        "max_position_embeddings": 64,
        "beta_fast": 0.5,
        "beta_slow": 0.1,
        "mscale": 1.7,
        "mscale_all_dim": 0.6,
        "llama_4_scaling_beta": 0.4,
    },
}


def ministral3(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Ministral3ForCausalLM", Ministral3Config(**SIZES | changes), seed)


def without_scale() -> dict[str, Any]:
    """Rotary settings of a model whose queries are not scaled."""
    return SIZES["rope_parameters"] | {"llama_4_scaling_beta": 0}


def mistral3(seed: int) -> FromTransformers:
    """The text model of a tiny Mistral 3 with pictures."""
    return make_multimodal("Mistral3", SIZES | {"tie_word_embeddings": True}, seed, "pixtral", "ministral3")


CASES = (
    Case("scaled", partial(ministral3, 1), length=29),
    Case("window", partial(ministral3, 2, sliding_window=4, rope_parameters=without_scale()), length=29),
    Case("pictures", partial(mistral3, 3), length=29),
)
