"""Kimi Linear: transformers' KimiLinearForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import KimiLinearConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from archc.proof.random_weights import normal
from tests.reference.minicpm3 import GAINS

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "pad_token_id": 0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 5,
    "qk_rope_head_dim": 6,
    "v_head_dim": 7,
    "linear_num_heads": 4,
    "linear_head_dim": 6,
    "moe_intermediate_size": 12,
    "num_local_experts": 6,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.7,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse"],
}
DECAYS = {"A_log": 3.0, "dt_bias": 3.0, "conv1d.weight": 2.0}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published file spells it."""
    for key in ("layer_types", "mlp_layer_types"):
        del config[key]
    linear = {"head_dim": config.pop("linear_head_dim"), "num_heads": config.pop("linear_num_heads")}
    linear |= {"short_conv_kernel_size": config.pop("linear_conv_kernel_dim")}
    linear |= {"full_attn_layers": [2], "kda_layers": [1, 3]}
    published = {
        "n_group": "num_expert_group",
        "n_shared_experts": "num_shared_experts",
        "num_local_experts": "num_experts",
        "norm_topk_prob": "moe_renormalize",
        "num_experts_per_tok": "num_experts_per_token",
    }
    config = {published.get(key, key): value for key, value in config.items()}
    config |= {"first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid"}
    return config | {"linear_attn_config": linear, "mla_use_nope": True, "use_grouped_topk": True}


def kimi_linear(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its buffer of biases among the parameters."""
    config = KimiLinearConfig(**SIZES | changes)
    gains = {**GAINS, **DECAYS}
    reference = make("KimiLinearForCausalLM", config, seed, gains=gains, respell=respell, cached=False)
    for name, module in list(reference.model.named_modules()):
        bias = module._buffers.pop("e_score_correction_bias", None)
        if bias is not None:
            module.e_score_correction_bias = nn.Parameter(0.5 * normal(name, tuple(bias.shape), seed))
        if hasattr(module, "conv1d"):
            module.conv1d.weight.data[: 2 * module.qkv_dim] *= 0.01  # keys so short that the eps of their norm counts
            module.q_proj.weight.data /= GAINS["q_proj.weight"]
            module.o_proj.weight.data /= GAINS["o_proj.weight"]
    return reference


CASES = (
    Case("experts", partial(kimi_linear, 1), length=37),
    Case("hub-file", partial(kimi_linear, 2, hub_file, norm_topk_prob=False, linear_conv_kernel_dim=3)),
)
