"""Beam: transformers' BeamForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BeamConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 80,
    "rms_norm_eps": 0.1,
    "moe_intermediate_size": 20,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.7,
    "sliding_window": 4,
    "final_logit_softcapping": 4.0,
}
LISTS: dict[str, Any] = {
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "mlp_layer_types": ["sparse", "dense", "sparse"],
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    },
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "attention_bias": True,
    "final_logit_softcapping": None,
}


def beam(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    gains = {"q_norm.weight": 3.0}  # queries grow by less than a percent over the longest prompt
    return with_selection_biases(make("BeamForCausalLM", BeamConfig(**SIZES | changes), seed, gains=gains), seed)


CASES = (Case("defaults", partial(beam, 1), length=61), Case("lists", partial(beam, 2, **LISTS)))
