"""nanochat: transformers' NanoChatForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import NanoChatConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 60,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "final_logit_softcapping": 3.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}


def nanochat(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("NanoChatForCausalLM", NanoChatConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("published", partial(nanochat, 1, older_rope)),
    Case("biased", partial(nanochat, 2, attention_bias=True, final_logit_softcapping=None)),
)
