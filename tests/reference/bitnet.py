"""BitNet: transformers' BitNetForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BitNetConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0},
}


def bitnet(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("BitNetForCausalLM", BitNetConfig(**SIZES | changes), seed)


CASES = (
    Case("untied", partial(bitnet, 1)),
    Case("biases", partial(bitnet, 2, attention_bias=True, hidden_act="silu", num_hidden_layers=2)),
)
