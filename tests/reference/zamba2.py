"""Zamba2: transformers' Zamba2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Zamba2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.mamba2 import GAINS

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "mamba_d_state": 5,
    "mamba_ngroups": 2,
    "n_mamba_heads": 6,
    "chunk_size": 4,
    "time_step_min": 0.05,
    "adapter_rank": 3,
    "layers_block_type": ["linear_attention", "hybrid", "hybrid", "linear_attention", "hybrid"],
}


def zamba2(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = Zamba2Config(**SIZES | changes)
    return make("Zamba2ForCausalLM", config, seed, gains=GAINS, cached=False)


CASES = (
    Case("two-blocks", partial(zamba2, 1, num_mem_blocks=2, use_shared_attention_adapter=True), length=17),
    Case(
        "one-block-rotary",
        partial(
            zamba2,
            2,
            use_mem_rope=True,
            rope_parameters={"rope_type": "default", "rope_theta": 200.0},
            use_long_context=True,
            add_bias_linear=True,
            num_hidden_layers=4,
            layers_block_type=["hybrid", "linear_attention", "hybrid", "linear_attention"],
            num_key_value_heads=2,
            mamba_ngroups=1,
        ),
    ),
)
