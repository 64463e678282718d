"""Nemotron: transformers' NemotronForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import NemotronConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5},
    "head_dim": 16,
    "norm_eps": 0.2,
}
ROPE: dict[str, Any] = SIZES["rope_parameters"]


def nemotron(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("NemotronForCausalLM", NemotronConfig(**SIZES | changes), seed, respell=respell, unit_offset=True)


CASES = (
    Case("minitron", partial(nemotron, 1)),
    Case("older-file", partial(nemotron, 2, older_rope, head_dim=None, hidden_size=72)),
    Case("biased", partial(nemotron, 3, attention_bias=True, mlp_bias=True, num_key_value_heads=6)),
    Case(
        "tied", partial(nemotron, 4, tie_word_embeddings=True, rope_parameters=ROPE | {"partial_rotary_factor": 0.75})
    ),
)
