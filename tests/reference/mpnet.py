"""MPNet: transformers' classes, which are told the positions, as those of RoBERTa are."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MPNetConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def mpnet(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny MPNet of one of the classes."""
    sizes = {name: value for name, value in SIZES.items() if name != "type_vocab_size"}
    return make(class_name, MPNetConfig(**sizes | changes), seed, attention="eager", first_position=2)


Encoder = partial(Case, topology="encoder", length=24)
CASES = (
    Encoder("masked-lm", partial(mpnet, "MPNetForMaskedLM", 1)),
    Encoder("model", partial(mpnet, "MPNetModel", 2, hidden_act="relu")),
    Encoder("classes", partial(mpnet, "MPNetForSequenceClassification", 3, num_labels=3)),
)
