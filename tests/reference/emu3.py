"""Emu3's language model: transformers' Emu3ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Emu3TextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.olmo2 import SIZES as OLMO2
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = OLMO2 | {"pad_token_id": 0}


def emu3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Emu3ForCausalLM", Emu3TextConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("grouped", partial(emu3, 1)),
    Case("tied-older-file", partial(emu3, 2, older_rope, tie_word_embeddings=True)),
)
