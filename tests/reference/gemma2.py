"""Gemma 2: transformers' Gemma2ForCausalLM, in its eager attention, the only one that caps scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import Gemma2Config

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
    "head_dim": 18,
    "query_pre_attn_scalar": 11,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 12.0,
    "sliding_window": 4,
}


def first_files(config: dict[str, Any]) -> dict[str, Any]:
    """No list of layer types, and a key that only says how a library keeps its cache."""
    config = older_rope({key: value for key, value in config.items() if key != "layer_types"})
    return config | {"cache_implementation": "hybrid", "hidden_act": "gelu_pytorch_tanh", "sliding_window_size": 4}


def gemma2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    reference = make(
        "Gemma2ForCausalLM",
        Gemma2Config(**SIZES | changes),
        seed,
        respell=respell,
        unit_offset=True,
        table=0.2,
        attention="eager",
    )

    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if "post_" in name or name == "model.norm.weight":
                parameter.add_(1.5)  # branches that outweigh the embedding, whose tied head would repeat the input
    return reference


CASES = (
    Case("capped", partial(gemma2, 1)),
    Case("first-files", partial(gemma2, 2, first_files)),
    Case("uncapped", partial(gemma2, 3, attn_logit_softcapping=None, final_logit_softcapping=None)),
    Case("by-list", partial(gemma2, 4, layer_types=["full_attention", "sliding_attention", "sliding_attention"])),
    Case("biased", partial(gemma2, 5, attention_bias=True, num_key_value_heads=6, hidden_activation="silu")),
)
