"""GTE: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GteConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def gte(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny GTE of one of the classes."""
    return make(class_name, GteConfig(**SIZES | changes), seed)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(gte, "GteForMaskedLM", 1, hidden_act="relu")),
    Encoder("model", partial(gte, "GteModel", 2, type_vocab_size=0)),
    Encoder("classes", partial(gte, "GteForSequenceClassification", 3, num_labels=1)),
)
