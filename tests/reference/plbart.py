"""PLBART: transformers' PLBartForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PLBartConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.bart import SIZES, SMALL
from tests.reference.mbart import biased


def plbart(seed: int, **changes: Any) -> FromTransformers:
    """A tiny PLBART with the given differences from SIZES."""
    return biased("PLBartForConditionalGeneration", PLBartConfig(**SIZES | changes), seed, SMALL)


CASES = (Case("base", partial(plbart, 1), topology="encoder-decoder", lead=(5,)),)
