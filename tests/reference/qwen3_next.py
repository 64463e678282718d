"""Qwen3-Next: transformers' Qwen3NextForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import Qwen3NextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0, "partial_rotary_factor": 0.25},
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "shared_expert_intermediate_size": 20,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 10,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention"],
}
GAINS = {"A_log": 3.0, "dt_bias": 3.0, "conv1d.weight": 2.0}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published file spells it."""
    config = older_rope(config)
    config["num_experts"] = config.pop("num_local_experts", config.get("num_experts"))
    del config["layer_types"]
    return config | {"full_attention_interval": 2, "partial_rotary_factor": 0.25}


def qwen3_next(seed: int, newer_file: bool = True, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    respell = None if newer_file else hub_file
    config = Qwen3NextConfig(**SIZES | changes)
    made = make("Qwen3NextForCausalLM", config, seed, respell=respell, gains=GAINS, cached=False, unit_offset=True)
    shorten_keys(made.model)
    return made


def shorten_keys(model: nn.Module) -> None:
    """Make queries and keys so short that the eps of their norm counts."""
    for module in model.modules():
        if hasattr(module, "key_dim"):
            module.conv1d.weight.data[: 2 * module.key_dim] *= 0.01


CASES = (
    Case("experts", partial(qwen3_next, 1), length=37),
    Case(
        "hub-file",
        partial(
            qwen3_next,
            2,
            newer_file=False,
            layer_types=["linear_attention", "full_attention", "linear_attention"],
            num_hidden_layers=3,
            linear_conv_kernel_dim=3,
            linear_num_key_heads=3,
            linear_num_value_heads=3,
            mlp_only_layers=[1],
            attention_bias=True,
            norm_topk_prob=False,
        ),
    ),
)
