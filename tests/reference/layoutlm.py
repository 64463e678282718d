"""LayoutLM: transformers' classes, without boxes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LayoutLMConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def layoutlm(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny LayoutLM of one of the classes."""
    return make(
        class_name,
        LayoutLMConfig(**SIZES | {"max_2d_position_embeddings": 9} | changes),
        seed,
        outside=[] if class_name == "LayoutLMModel" else ["pooler"],
    )


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(layoutlm, "LayoutLMForMaskedLM", 1)),
    Encoder("model", partial(layoutlm, "LayoutLMModel", 2, hidden_act="relu")),
    Encoder("tokens", partial(layoutlm, "LayoutLMForTokenClassification", 3, num_labels=5)),
)
