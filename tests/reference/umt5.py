"""umT5: transformers' UMT5ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import UMT5Config

from archc.proof.from_transformers import FromTransformers
from tests.reference.t5 import SIZES, Answer, answering


def umt5(seed: int, tie: bool, **changes: Any) -> FromTransformers:
    """A tiny umT5 with the given differences from SIZES."""
    return answering("UMT5ForConditionalGeneration", UMT5Config(**SIZES | changes, tie_word_embeddings=tie), seed, tie)


CASES = (
    Answer("published", partial(umt5, 1, tie=False)),
    Answer("tied", partial(umt5, 2, tie=True, num_layers=1, num_decoder_layers=2)),
)
