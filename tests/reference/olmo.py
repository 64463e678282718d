"""OLMo: transformers' OlmoForCausalLM, with queries, keys and values clipped and not."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import OlmoConfig

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
}


def olmo(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES.

    The eps of its norms is a constant, 1e-5, which only a residual stream of small numbers shows.
    """
    reference = make("OlmoForCausalLM", OlmoConfig(**SIZES | changes), seed, respell=respell, table=0.012)
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if ".o_proj." in name or ".down_proj." in name:
                parameter.mul_(0.006)
    return reference


CASES = (
    Case("7b", partial(olmo, 1, num_key_value_heads=6)),
    Case("clipped", partial(olmo, 2, clip_qkv=0.8)),
    Case("tied-older-file", partial(olmo, 3, older_rope, tie_word_embeddings=True)),
    Case("biased", partial(olmo, 4, attention_bias=True, clip_qkv=1.1)),
)
