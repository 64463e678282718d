"""ERNIE 4.5: transformers' Ernie4_5ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Ernie4_5Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES
from tests.reference.spelling import named


def ernie4_5(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of LLaMA's."""
    return make("Ernie4_5ForCausalLM", Ernie4_5Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("tied", partial(ernie4_5, 1)),
    Case(
        "first-file-biased",
        partial(ernie4_5, 2, named("ernie4_5", "Ernie4_5_ForCausalLM"), use_bias=True, tie_word_embeddings=False),
    ),
)
