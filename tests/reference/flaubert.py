"""FlauBERT: transformers' classes, which are XLM's."""

from __future__ import annotations

from functools import partial

from tests.reference.xlm import Encoder, xlm

CASES = (
    Encoder("masked-lm", partial(xlm, "FlaubertWithLMHeadModel", 1)),
    Encoder("model", partial(xlm, "FlaubertModel", 2)),
)
