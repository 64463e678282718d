"""EXAONE 4.0: transformers' Exaone4ForCausalLM, with windows by list and by pattern, and without."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Exaone4Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "head_dim": 14,
    "sliding_window": 4,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 6.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 0.7,
    "high_freq_factor": 3.0,
}
# A file without windows lists its layers, for no pattern says them.
FULL: dict[str, Any] = {"sliding_window": None, "layer_types": ["full_attention"] * 5}


def by_letters(config: dict[str, Any]) -> dict[str, Any]:
    """The pattern as the files of the 32B have it, next to the list that counts."""
    return older_rope(config) | {"sliding_window_pattern": "LLLG"}


def by_number(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves the list to the pattern."""
    return older_rope({key: value for key, value in config.items() if key != "layer_types"})


def exaone4(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Exaone4ForCausalLM", Exaone4Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("by-list", partial(exaone4, 1)),
    Case("by-letters", partial(exaone4, 2, by_letters, rope_parameters=LLAMA3), length=31),
    Case("by-number", partial(exaone4, 3, by_number, sliding_window_pattern=3)),
    Case("no-windows", partial(exaone4, 4, tie_word_embeddings=True, rope_parameters=LLAMA3, **FULL), length=31),
)
