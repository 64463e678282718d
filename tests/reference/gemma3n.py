"""Gemma 3n: transformers' Gemma3nForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import Gemma3nTextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": [46, 40, 46, 46],
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 7,
    "vocab_size_per_layer_input": 97,
    "laurel_rank": 5,
    "altup_num_inputs": 3,
    "activation_sparsity_pattern": [0.6, 0.0, 0.4, 0.0],
    "final_logit_softcapping": 12.0,
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 90.0, "factor": 2.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 60.0},
    },
}
SECOND: dict[str, Any] = {
    "altup_num_inputs": 4,
    "altup_active_idx": 1,
    "altup_correct_scale": False,
    "attention_bias": True,
    "num_hidden_layers": 3,
    "intermediate_size": [46] * 3,
    "layer_types": None,
    "sliding_window": 5,
    "num_kv_shared_layers": 0,
    "activation_sparsity_pattern": None,
    "vocab_size_per_layer_input": 151,
}
# Softer scores, and coefficients and branches that count.
GAINS = {
    "q_norm.weight": 0.6,
    "modality_router.weight": 40.0,
    "per_layer_input_gate.weight": 0.7,
    "post_per_layer_input_norm.weight": 2.5,
}


def gemma3n(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, whose branches outweigh the embedding."""
    config = Gemma3nTextConfig(**SIZES | changes)
    outside = () if config.altup_correct_scale else ("correct_output_scale",)
    reference = make("Gemma3nForCausalLM", config, seed, table=0.2, gains=GAINS, outside=outside)
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if "post_" in name or name.endswith(("model.norm.weight", "correct_output_scale")):
                parameter.add_(1.0)
    return reference


CASES = (Case("shared", partial(gemma3n, 1)), Case("second-stream", partial(gemma3n, 2, **SECOND)))
