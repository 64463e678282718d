"""MVP: transformers' MvpForConditionalGeneration without prompts."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MvpConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.bart import SIZES, SMALL
from tests.reference.mbart import biased


def mvp(seed: int, **changes: Any) -> FromTransformers:
    """A tiny MVP with the given differences from SIZES."""
    return biased("MvpForConditionalGeneration", MvpConfig(**SIZES | changes), seed, SMALL, attention="eager")


CASES = (Case("base", partial(mvp, 1), topology="encoder-decoder", lead=(5,)),)
