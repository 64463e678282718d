"""DistilBERT: transformers' classes, with the head and without."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import DistilBertConfig

from tests.families.case import Case
from tests.reference.from_transformers import FromTransformers, Rename, make

SIZES: dict[str, Any] = {
    "vocab_size": 151, "dim": 60, "hidden_dim": 92, "n_layers": 3, "n_heads": 6, "max_position_embeddings": 40,
}  # fmt: skip


def distilbert(class_name: str, seed: int, weights: Rename | None = None, **changes: Any) -> FromTransformers:
    """A tiny DistilBERT of one of the classes."""
    return make(class_name, DistilBertConfig(**SIZES | changes), seed, weights=weights)


def with_projector(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tied projection written out, as published files have it."""
    table = tensors["distilbert.embeddings.word_embeddings.weight"]
    return tensors | {"vocab_projector.weight": table.clone()}


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(distilbert, "DistilBertForMaskedLM", 1)),
    Encoder("model", partial(distilbert, "DistilBertModel", 2, activation="relu")),
    Encoder(
        "published-file", partial(distilbert, "DistilBertForMaskedLM", 3, with_projector, sinusoidal_pos_embds=True)
    ),
    Encoder("untied", partial(distilbert, "DistilBertForMaskedLM", 4, tie_word_embeddings=False)),
)
