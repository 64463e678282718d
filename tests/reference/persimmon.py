"""Persimmon: transformers' PersimmonForCausalLM, with and without norms on queries and keys."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FuyuConfig, PersimmonConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.phi import SIZES as PHI
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = PHI | {"layer_norm_eps": 0.05}


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings of before transformers 5, and a key that repeats the number of heads."""
    return older_rope(config) | {"num_key_value_heads": config["num_attention_heads"]}


def persimmon(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("PersimmonForCausalLM", PersimmonConfig(**SIZES | changes), seed, respell=respell)


def without_nesting(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the text model next to those of the file."""
    return older_rope(config.pop("text_config")) | config


def fuyu(seed: int, respell: Respell | None = None) -> FromTransformers:
    """The text model of a tiny Fuyu."""
    sizes = {"model_type": "persimmon", **SIZES, "tie_word_embeddings": False}
    config = FuyuConfig(text_config=sizes, patch_size=2, tie_word_embeddings=False)
    return make("FuyuForCausalLM", config, seed, respell=respell, outside=("vision_embed_tokens",))


CASES = (
    Case("fuyu", partial(fuyu, 3)),
    Case("fuyu-without-nesting", partial(fuyu, 4, without_nesting)),
    Case("query-key-norm", partial(persimmon, 1)),
    Case("older-file-tied", partial(persimmon, 2, hub_keys, qk_layernorm=False, tie_word_embeddings=True)),
)
