"""Zamba: transformers' ZambaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ZambaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

GAINS = {"A_log": 4.0, "dt_proj_bias": 4.0, "conv1d.weight": 2.0, "D": 4.0}
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "mamba_d_state": 5,
    "mamba_dt_rank": 3,
    "n_mamba_heads": 3,
    "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "linear_attention", "hybrid"],
}


def zamba(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("ZambaForCausalLM", ZambaConfig(**SIZES | changes), seed, gains=GAINS, cached=False)


CASES = (
    Case("three-heads", partial(zamba, 1), length=17),
    Case(
        "biases",
        partial(
            zamba,
            2,
            n_mamba_heads=2,
            mamba_dt_rank="auto",
            mamba_proj_bias=True,
            mamba_conv_bias=False,
            hidden_act="silu",
            num_hidden_layers=4,
            layers_block_type=["hybrid", "linear_attention", "hybrid", "hybrid"],
        ),
    ),
)
