"""GPT-NeoX Japanese: transformers' GPTNeoXJapaneseForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GPTNeoXJapaneseConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_multiple_size": 2,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 170.0, "partial_rotary_factor": 1.0},
}
PARTIAL: dict[str, Any] = {"rope_type": "default", "rope_theta": 90.0, "partial_rotary_factor": 0.6}


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings as the published file spells them."""
    rope = config.pop("rope_parameters")
    return config | {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope["partial_rotary_factor"]}


def gpt_neox_japanese(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = GPTNeoXJapaneseConfig(**SIZES | changes)
    return make("GPTNeoXJapaneseForCausalLM", config, seed, respell=respell, attention="eager")


CASES = (
    Case("tied", partial(gpt_neox_japanese, 1)),
    Case(
        "older-file-partial",
        partial(gpt_neox_japanese, 2, hub_keys, rope_parameters=PARTIAL, tie_word_embeddings=False),
    ),
)
