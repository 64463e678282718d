"""RemBERT: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import RemBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

WIDTHS = {"input_embedding_size": 36, "output_embedding_size": 44}


def rembert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny RemBERT of one of the classes."""
    config = RemBertConfig(**SIZES | WIDTHS | {"bos_token_id": 1, "eos_token_id": 2} | changes)
    return make(class_name, config, seed, attention="eager")


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(rembert, "RemBertForMaskedLM", 1, hidden_act="relu")),
    Encoder("model", partial(rembert, "RemBertModel", 2)),
    Encoder("classes", partial(rembert, "RemBertForSequenceClassification", 3, num_labels=3)),
)
