"""The text model of Aria: transformers' AriaTextForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import AriaTextConfig

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
    "moe_num_experts": 5,
    "moe_topk": 3,
}


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The width of an expert as in the published file."""
    return older_rope(config) | {"moe_intermediate_size": config.pop("intermediate_size")}


def aria_text(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("AriaTextForCausalLM", AriaTextConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("plain", partial(aria_text, 1, attention_bias=True)),
    Case("published", partial(aria_text, 2, published, moe_num_shared_experts=1, mlp_bias=True)),
)
