"""Seed-OSS: transformers' SeedOssForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import SeedOssConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES
from tests.reference.spelling import older_rope


def seed_oss(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of LLaMA's."""
    return make("SeedOssForCausalLM", SeedOssConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("biased-queries", partial(seed_oss, 1)),
    Case(
        "older-file-biased-output",
        partial(seed_oss, 2, older_rope, attention_bias=False, attention_out_bias=True, mlp_bias=True),
    ),
)
