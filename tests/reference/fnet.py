"""FNet: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FNetConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def fnet(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny FNet of one of the classes."""
    sizes = {name: value for name, value in SIZES.items() if name != "num_attention_heads"}
    # Of the classes for tokens, too, the pooler is not part of what archc computes.
    unused = ["seq_relationship"] + ["pooler"] * (class_name == "FNetForMaskedLM")
    return make(class_name, FNetConfig(**sizes | changes), seed, attention="eager", outside=unused)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(fnet, "FNetForMaskedLM", 1)),
    Encoder("model", partial(fnet, "FNetModel", 2, hidden_act="relu")),
    Encoder("classes", partial(fnet, "FNetForSequenceClassification", 3, num_labels=3)),
)
