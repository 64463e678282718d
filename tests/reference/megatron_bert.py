"""Megatron BERT: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MegatronBertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def megatron_bert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny Megatron BERT of one of the classes."""
    # The next-sentence head is not part of what archc computes.
    config = MegatronBertConfig(**SIZES | changes)
    return make(class_name, config, seed, attention="eager", outside=["seq_relationship"])


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(megatron_bert, "MegatronBertForMaskedLM", 1, hidden_act="relu")),
    Encoder("pretraining", partial(megatron_bert, "MegatronBertForPreTraining", 2)),
    Encoder("model", partial(megatron_bert, "MegatronBertModel", 3)),
)
