"""ConvBERT: transformers' classes, with a token table of the stream's width and with one of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ConvBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

OPTIONS = {"embedding_size": 36, "conv_kernel_size": 5}


def convbert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny ConvBERT of one of the classes."""
    return make(class_name, ConvBertConfig(**SIZES | OPTIONS | changes), seed, attention="eager")


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(convbert, "ConvBertForMaskedLM", 1, hidden_act="relu")),
    Encoder("model", partial(convbert, "ConvBertModel", 2, embedding_size=60, head_ratio=3)),
    Encoder("classes", partial(convbert, "ConvBertForSequenceClassification", 3, num_labels=3)),
)
