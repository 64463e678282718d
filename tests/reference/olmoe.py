"""OLMoE: transformers' OlmoeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import OlmoeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "pad_token_id": 0,
}


def olmoe(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("OlmoeForCausalLM", OlmoeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("published", partial(olmoe, 1, older_rope)),
    Case("normalized", partial(olmoe, 2, norm_topk_prob=True, attention_bias=True)),
)
