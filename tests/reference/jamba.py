"""Jamba, by transformers' class."""

from __future__ import annotations

from typing import Any

from transformers import JambaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make


def jamba(seed: int, **more: Any) -> FromTransformers:
    """Random weights: decays of every strength, and experts that differ."""
    config = JambaConfig(
        **{
            "vocab_size": 97,
            "hidden_size": 24,
            "intermediate_size": 20,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-2,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "mamba_d_state": 5,
            "max_position_embeddings": 64,
            **more,
        }
    )
    gains = {"A_log": 4.0, "dt_proj.bias": 4.0, "conv1d.weight": 2.0, "router.weight": 5.0}
    return make("JambaForCausalLM", config, seed, gains=gains, cached=False)


CASES = (
    Case("experts", lambda: jamba(1), length=17),
    Case(
        "dense-biases",
        lambda: jamba(
            2,
            num_experts=1,
            num_hidden_layers=3,
            mamba_d_conv=3,
            mamba_dt_rank=7,
            mamba_proj_bias=True,
            mamba_conv_bias=False,
            tie_word_embeddings=True,
        ),
    ),
)
