"""Command R: transformers' CohereForCausalLM, with and without norms on queries and keys."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import CohereConfig

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
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "layer_norm_eps": 0.1,
    "logit_scale": 0.3,
}


def command_r(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("CohereForCausalLM", CohereConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("r", partial(command_r, 1, num_key_value_heads=6)),
    Case("r-plus", partial(command_r, 2, use_qk_norm=True, logit_scale=0.8)),
    Case("older-file", partial(command_r, 3, lambda config: older_rope(config) | {"model_max_length": 80})),
    Case("biased-untied", partial(command_r, 4, attention_bias=True, tie_word_embeddings=False)),
)
