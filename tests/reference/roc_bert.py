"""RoCBert: transformers' classes, without the ids of shapes and pronunciations."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import RoCBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

TABLES: dict[str, Any] = {
    "shape_vocab_size": 7,
    "shape_embed_dim": 20,
    "pronunciation_vocab_size": 5,
    "pronunciation_embed_dim": 28,
}


def roc_bert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny RoCBert of one of the classes."""
    config = RoCBertConfig(**SIZES | TABLES | changes)
    return make(class_name, config, seed, outside=[] if config.concat_input else ["shape_embed", "pronunciation_embed"])


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(roc_bert, "RoCBertForMaskedLM", 1)),
    Encoder("model-without-features", partial(roc_bert, "RoCBertModel", 2, concat_input=False)),
)
