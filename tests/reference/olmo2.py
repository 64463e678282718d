"""OLMo 2: transformers' Olmo2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Olmo2Config

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
    "rms_norm_eps": 0.01,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}


def olmo2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Olmo2ForCausalLM", Olmo2Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("7b", partial(olmo2, 1, num_key_value_heads=6)),
    Case("grouped", partial(olmo2, 2)),
    Case("tied-older-file", partial(olmo2, 3, older_rope, tie_word_embeddings=True)),
    Case("biased", partial(olmo2, 4, attention_bias=True)),
)
