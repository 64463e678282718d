"""RecurrentGemma: transformers' RecurrentGemmaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import RecurrentGemmaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "attention_window_size": 5,
    "rms_norm_eps": 0.5,
    "logits_soft_cap": 5.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0, "partial_rotary_factor": 0.5},
}
GAINS = {
    "recurrent_param": 3.0,
    "conv_1d.weight": 2.0,
    "gate_weight": 2.0,
    "linear_y.weight": 2.0,
    "gate_proj.weight": 2.0,
    "down_proj.weight": 2.0,
}


def recurrent_gemma(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = RecurrentGemmaConfig(**SIZES | changes)
    options: dict[str, Any] = {"gains": GAINS, "unit_offset": True, "cached": False, "table": 0.25}
    return make("RecurrentGemmaForCausalLM", config, seed, **options)


CASES = (
    Case("pattern", partial(recurrent_gemma, 1)),
    Case(
        "wide", partial(recurrent_gemma, 2, lru_width=48, block_types=["attention", "recurrent"], attention_bias=True)
    ),
)
