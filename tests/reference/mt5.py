"""mT5: transformers' MT5ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MT5Config

from archc.proof.from_transformers import FromTransformers
from tests.reference.t5 import SIZES, Answer, answering


def mt5(seed: int, tie: bool, table: float = 0.3, **changes: Any) -> FromTransformers:
    """A tiny mT5 with the given differences from SIZES, its embeddings spread as far as `table`."""
    return answering("MT5ForConditionalGeneration", MT5Config(**SIZES | changes), seed, tie, table=table)


CASES = (
    Answer("published", partial(mt5, 1, tie=False)),
    Answer(
        "tied-relu", partial(mt5, 2, tie=True, table=0.05, feed_forward_proj="relu", num_layers=1, num_decoder_layers=2)
    ),
)
