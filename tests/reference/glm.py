"""GLM-4: transformers' GlmForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GlmConfig

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
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5},
    "head_dim": 16,
    "pad_token_id": 0,
}
ROPE: dict[str, Any] = SIZES["rope_parameters"]


def glm(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("GlmForCausalLM", GlmConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("9b", partial(glm, 1)),
    Case("tied-older-file", partial(glm, 2, older_rope, tie_word_embeddings=True)),
    Case("unbiased", partial(glm, 3, attention_bias=False)),
    Case("whole-rotation", partial(glm, 4, rope_parameters=ROPE | {"partial_rotary_factor": 1.0})),
)
