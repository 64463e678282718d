"""Splinter: transformers' SplinterModel."""

from __future__ import annotations

from functools import partial

from transformers import SplinterConfig

from tests.families.case import Case
from tests.reference.bert import SIZES
from tests.reference.from_transformers import FromTransformers, make


def splinter(seed: int) -> FromTransformers:
    """A tiny Splinter."""
    return make("SplinterModel", SplinterConfig(**SIZES), seed, attention="eager")


CASES = (Case("model", partial(splinter, 1), topology="encoder"),)
