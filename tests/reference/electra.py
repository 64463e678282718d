"""ELECTRA: transformers' classes, with a token table of its own width and with one of the stream's."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ElectraConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def electra(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny ELECTRA of one of the classes."""
    return make(class_name, ElectraConfig(**SIZES | {"embedding_size": 36} | changes), seed)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(electra, "ElectraForMaskedLM", 1, hidden_act="relu")),
    Encoder("masked-lm-one-width", partial(electra, "ElectraForMaskedLM", 2, embedding_size=60)),
    Encoder("masked-lm-untied", partial(electra, "ElectraForMaskedLM", 3, tie_word_embeddings=False)),
    Encoder("classes", partial(electra, "ElectraForSequenceClassification", 5, num_labels=3)),
    Encoder("model", partial(electra, "ElectraModel", 4)),
)
