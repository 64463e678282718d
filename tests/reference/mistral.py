"""Mistral: transformers' MistralForCausalLM, with windows shorter than the prompt and without."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MistralConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}


def mistral(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny Mistral with the given differences from SIZES."""
    return make("MistralForCausalLM", MistralConfig(**SIZES | changes), seed, respell=respell)


def mistral3(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny Mistral Small 3.1."""
    return make_multimodal("Mistral3", SIZES | changes, seed, "pixtral", "mistral")


CASES = (
    Case("window", partial(mistral, 1, sliding_window=5)),
    Case("window-of-two", partial(mistral, 2, sliding_window=2)),
    Case("no-window", partial(mistral, 3, sliding_window=None)),
    Case("older-file", partial(mistral, 4, sliding_window=4, head_dim=None, respell=older_rope)),
    Case("pictures", partial(mistral3, 5, sliding_window=None)),
)
