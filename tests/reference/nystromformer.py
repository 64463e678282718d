"""Nyströmformer: transformers' classes, with attention that is not approximated."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import NystromformerConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def nystromformer(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny Nyströmformer of one of the classes."""
    config = NystromformerConfig(**SIZES | {"conv_kernel_size": 5} | changes)
    return make(class_name, config, seed, attention="eager")


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(nystromformer, "NystromformerForMaskedLM", 1)),
    Encoder("model", partial(nystromformer, "NystromformerModel", 2, conv_kernel_size=7)),
    Encoder(
        "classes", partial(nystromformer, "NystromformerForSequenceClassification", 3, num_labels=3, hidden_act="relu")
    ),
)
