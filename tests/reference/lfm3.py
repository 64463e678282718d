"""LFM3: transformers' Lfm3ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Lfm3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.lfm2 import GAINS
from tests.reference.lfm2 import SIZES as LFM2_SIZES

ROPES: dict[str, Any] = {
    "full_attention": {"rope_type": "proportional", "rope_theta": 90.0, "partial_rotary_factor": 0.5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 60.0},
}
SIZES: dict[str, Any] = LFM2_SIZES | {
    "head_dim": 8,
    "pad_token_id": 0,
    "sliding_window": 4,
    "conv_L_cache": 4,
    "rope_parameters": ROPES,
    "layer_types": ["sliding_attention", "conv", "full_attention"],
}


def lfm3(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    gains = {**GAINS, "g_proj.weight": 2.0}
    return make("Lfm3ForCausalLM", Lfm3Config(**SIZES | changes), seed, gains=gains, cached=False)


PLAIN: dict[str, Any] = {
    "num_hidden_layers": 5,
    "layer_types": None,
    "rope_parameters": None,
    "use_sandwich_norm": False,
    "use_attention_gate": False,
    "conv_bias": True,
    "attention_bias": True,
    "tie_word_embeddings": False,
}
CASES = (Case("by-list", partial(lfm3, 1)), Case("pattern-plain", partial(lfm3, 2, **PLAIN)))
