"""Doge: transformers' DogeForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DogeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "keep_window_size": 6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
}
GAINS = {"dt_proj.weight": 4.0, "self_attn.A": 3.0}


def doge(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("DogeForCausalLM", DogeConfig(**SIZES | changes), seed, gains=GAINS, attention="eager")


# In the first layer, equal tokens have equal biases, and which is selected is up to the library: no answer of the
# first case repeats one.
CASES = (
    Case("six-keys", partial(doge, 3), length=19, tokens=6),
    Case("biases", partial(doge, 2, keep_window_size=9, num_key_value_heads=3, attention_bias=True, mlp_bias=True)),
)
