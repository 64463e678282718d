"""Falcon-H1: transformers' FalconH1ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FalconH1Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bamba import SIZES
from tests.reference.mamba2 import GAINS

FACTORS: dict[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
    "mamba_d_ssm": 72,
    "num_hidden_layers": 2,
    "pad_token_id": None,
    "lm_head_multiplier": 0.7,
    "embedding_multiplier": 1.6,
    "mlp_multipliers": [0.8, 1.7],
    "key_multiplier": 0.9,
    "attention_in_multiplier": 1.3,
    "attention_out_multiplier": 1.8,
    "ssm_multipliers": [0.8, 1.2, 0.7, 1.4, 0.6],
    "ssm_in_multiplier": 1.2,
    "ssm_out_multiplier": 1.5,
}
NORMS: dict[str, Any] = {
    "mamba_rms_norm": True,
    "mamba_norm_before_gate": False,
    "mamba_proj_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "mamba_d_ssm": None,
}


def falcon_h1(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from FACTORS."""
    config = FalconH1Config(**SIZES | FACTORS | changes)
    return make("FalconH1ForCausalLM", config, seed, gains=GAINS, cached=False)


CASES = (Case("factors", partial(falcon_h1, 1)), Case("norms-biases", partial(falcon_h1, 2, **NORMS)))
