"""Splinter: transformers' SplinterModel."""

from __future__ import annotations

from functools import partial

from transformers import SplinterConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def splinter(seed: int) -> FromTransformers:
    """A tiny Splinter."""
    return make("SplinterModel", SplinterConfig(**SIZES), seed, attention="eager")


CASES = (Case("model", partial(splinter, 1), topology="encoder"),)
