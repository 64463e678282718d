"""MiMo-V2-Flash: transformers' MiMoV2FlashForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import MiMoV2FlashConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 1,
    "head_dim": 12,
    "v_head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "moe_intermediate_size": 20,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
    "sliding_window": 4,
}
GROUPS: dict[str, Any] = {
    "n_group": 4,
    "topk_group": 2,
    "norm_topk_prob": False,
    "attention_value_scale": None,
    "attention_bias": True,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "mlp_layer_types": ["sparse", "dense", "sparse"],
    "rope_parameters": {
        "full_attention": {"rope_type": "linear", "rope_theta": 300.0, "partial_rotary_factor": 0.5, "factor": 2.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0, "partial_rotary_factor": 1.0},
    },
}


def mimo_v2_flash(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its sinks large enough to take weight."""
    config = MiMoV2FlashConfig(**SIZES | changes)
    reference = make("MiMoV2FlashForCausalLM", config, seed, attention="eager")
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
    return with_selection_biases(reference, seed)


CASES = (Case("defaults", partial(mimo_v2_flash, 1)), Case("groups", partial(mimo_v2_flash, 2, **GROUPS)))
