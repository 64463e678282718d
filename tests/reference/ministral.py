"""Ministral: transformers' MinistralForCausalLM, with windows in some layers and in all."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MinistralConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.cwm import SIZES, older_file


def ministral(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("MinistralForCausalLM", MinistralConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case(
        "by-list", partial(ministral, 1, layer_types=["full_attention", *["sliding_attention"] * 3, "full_attention"])
    ),
    Case("older-file", partial(ministral, 2, older_file, tie_word_embeddings=True)),
)
