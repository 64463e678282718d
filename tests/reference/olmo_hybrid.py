"""OLMo Hybrid: transformers' OlmoHybridForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import OlmoHybridConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.qwen3_next import GAINS, shorten_keys

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "pad_token_id": 0,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 5,
    "linear_value_head_dim": 7,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}


def olmo_hybrid(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES; its values are small, so that the eps of the norm counts."""
    gains = {**GAINS, "linear_attn.v_proj.weight": 0.05}
    config = OlmoHybridConfig(**SIZES | changes)
    made = make("OlmoHybridForCausalLM", config, seed, gains=gains, cached=False, weights=published_convolutions)
    shorten_keys(made.model)
    return made


def published_convolutions(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels of the widths of queries, keys and values; `save_pretrained` cuts their sum into three equal parts."""
    for name in [name for name in tensors if name.endswith("q_conv1d.weight")]:
        names = [name.replace("q_conv1d", f"{part}_conv1d") for part in "qkv"]
        whole = torch.cat([tensors[part] for part in names])
        tensors |= dict(zip(names, whole.split([10, 10, 28]), strict=True))
    return tensors


CASES = (
    Case("without-positions", partial(olmo_hybrid, 1), length=37),
    Case(
        "rope-positive",
        partial(
            olmo_hybrid,
            2,
            linear_allow_neg_eigval=False,
            rope_parameters={"rope_type": "default", "rope_theta": 200.0},
            layer_types=["linear_attention", "full_attention"],
            num_hidden_layers=2,
        ),
    ),
)
