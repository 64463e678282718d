"""Gemma 4: transformers' Gemma4ForCausalLM, with the settings of its layers in either spelling."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import Gemma4TextConfig, PreTrainedModel

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 46,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "head_dim": 12,
    "global_head_dim": 20,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 3,
    "num_kv_shared_layers": 3,
    "hidden_size_per_layer_input": 7,
    "vocab_size_per_layer_input": 151,
}
ROPES: dict[str, Any] = {
    "full_attention": {"rope_type": "proportional", "rope_theta": 90.0, "partial_rotary_factor": 0.5, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 60.0},
}


# Softer scores, gates where the activations differ, and experts with unequal weights.
GAINS = {
    "q_norm.weight": 0.6,
    "per_layer_input_gate.weight": 0.3,
    "gate_proj.weight": 1.4,
    "router.proj.weight": 3.0,
    "experts.gate_up_proj": 1.4,
    "post_feedforward_layernorm_2.weight": 4.0,
}


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """The heads of global layers in two keys instead of each layer's settings."""
    config = dict(config)
    layer = config.pop("per_layer_config")["1"]
    return config | {
        "global_head_dim": layer["head_dim"],
        "num_global_key_value_heads": layer.get("num_key_value_heads"),
    }


def learn_scales(model: PreTrainedModel) -> None:
    """Make the factor of each layer a parameter, which is counted and gets a random number."""
    for layer in getattr(model.model, "language_model", model.model).layers:
        del layer.layer_scalar
        layer.layer_scalar = nn.Parameter(torch.ones(1))


def gemma4(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = Gemma4TextConfig(**SIZES | changes)
    return raise_branches(
        make("Gemma4ForCausalLM", config, seed, respell=respell, table=0.2, prepare=learn_scales, gains=GAINS)
    )


def gemma4_pictures(seed: int) -> FromTransformers:
    """The text model of a tiny Gemma 4 with a vision part."""
    sizes = {**SIZES, "tie_word_embeddings": True}
    options: dict[str, Any] = {"table": 0.2, "prepare": learn_scales, "gains": GAINS}
    return raise_branches(make_multimodal("Gemma4", sizes, seed, "gemma4_vision", "gemma4_text", **options))


def raise_branches(reference: FromTransformers) -> FromTransformers:
    """Let branches outweigh the embedding, whose tied head would repeat the input, and layer scales be near one."""
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if "vision" not in name and ("post_" in name or name.endswith(("layer_scalar", "model.norm.weight"))):
                parameter.add_(1.0)
    return reference


GLOBAL: dict[str, Any] = {
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 3,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0,
    "attention_bias": True,
    "final_logit_softcapping": 12.0,
}
BY_NUMBER: dict[str, Any] = {
    "num_hidden_layers": 8,
    "layer_types": None,
    "num_kv_shared_layers": 1,
    "use_double_wide_mlp": True,
}
EXPERTS: dict[str, Any] = {
    "enable_moe_block": True,
    "rms_norm_eps": 0.4,
    "num_hidden_layers": 3,
    "layer_types": None,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0,
    "num_experts": 5,
    "top_k_experts": 2,
    "moe_intermediate_size": 12,
}
CASES = (
    Case("shared", partial(gemma4, 1, rope_parameters=ROPES)),
    Case("keys-as-values", partial(gemma4, 2, older_file, **GLOBAL)),
    Case("pattern", partial(gemma4, 3, **BY_NUMBER)),
    Case("pictures", partial(gemma4_pictures, 5)),
    Case("experts", partial(gemma4, 4, **EXPERTS)),
)
