"""Nemotron-H: transformers' NemotronHForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from transformers import NemotronHConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from archc.proof.random_weights import normal
from tests.reference.mamba2 import GAINS

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "layer_norm_epsilon": 1e-2,
    "mamba_num_heads": 6,
    "mamba_head_dim": 8,
    "n_groups": 3,
    "ssm_state_size": 5,
    "chunk_size": 4,
    "time_step_min": 0.5,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 12,
    "moe_shared_expert_intermediate_size": 20,
    "routed_scaling_factor": 1.7,
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the first files spell it."""
    for key in ("layers_block_type", "layer_types", "num_hidden_layers"):
        config.pop(key, None)
    return config | {"hybrid_override_pattern": "M-*M", "num_hidden_layers": 4, "rms_norm_eps": 1e-2}


def nemotron_h(seed: int, layers: list[str], respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, its buffer of biases among the parameters."""
    config = NemotronHConfig(**SIZES | {"layers_block_type": layers} | changes)
    reference = make("NemotronHForCausalLM", config, seed, gains=GAINS, respell=respell, cached=False)
    for name, module in list(reference.model.named_modules()):
        bias = module._buffers.pop("e_score_correction_bias", None)
        if bias is not None:
            module.e_score_correction_bias = nn.Parameter(0.5 * normal(name, tuple(bias.shape), seed))
    return reference


DENSE = ["linear_attention", "mlp", "full_attention", "linear_attention"]
EXPERTS = ["linear_attention", "moe", "full_attention", "moe"]

CASES = (
    Case("hub-file", partial(nemotron_h, 1, DENSE, hub_file)),
    Case("experts", partial(nemotron_h, 2, EXPERTS, n_group=4, topk_group=2)),
    Case("biases", partial(nemotron_h, 3, DENSE[:2], use_bias=True, mlp_bias=True, use_conv_bias=False)),
)
