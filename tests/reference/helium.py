"""Helium: transformers' HeliumForCausalLM, whose heads must add up to the width."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import HeliumConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES
from tests.reference.spelling import older_rope


def helium(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of LLaMA's."""
    return make("HeliumForCausalLM", HeliumConfig(**SIZES | {"head_dim": 10} | changes), seed, respell=respell)


CASES = (
    Case("grouped", partial(helium, 1)),
    Case("biased-older-file", partial(helium, 2, older_rope, attention_bias=True, mlp_bias=True)),
)
