"""ERNIE: transformers' classes, with an embedding of the task and without."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ErnieConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def ernie(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny ERNIE of one of the classes."""
    return make(class_name, ErnieConfig(**SIZES | changes), seed, outside=["seq_relationship"])


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(ernie, "ErnieForMaskedLM", 1, use_task_id=True)),
    Encoder("model", partial(ernie, "ErnieModel", 2)),
    Encoder("classes", partial(ernie, "ErnieForSequenceClassification", 3, use_task_id=True, num_labels=3)),
)
