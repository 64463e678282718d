"""BERT: transformers' classes, and the names that older files use."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-1,
}


def bert(class_name: str, seed: int, weights: Rename | None = None, **changes: Any) -> FromTransformers:
    """A tiny BERT of one of the classes."""
    # The next-sentence head is not part of what archc computes.
    return make(class_name, BertConfig(**SIZES | changes), seed, weights=weights, outside=["seq_relationship"])


def first_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The norms' names in files converted from TensorFlow."""
    spellings = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, value in tensors.items():
        for new, old in spellings.items():
            name = name.replace(new, old)
        renamed[name] = value
    return renamed


def with_pooler(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masked-language model among all that was pretrained, as published files have it."""
    width = SIZES["hidden_size"]
    return tensors | {
        "bert.pooler.dense.weight": torch.ones(width, width),
        "bert.pooler.dense.bias": torch.ones(width),
        "cls.seq_relationship.weight": torch.ones(2, width),
        "cls.seq_relationship.bias": torch.ones(2),
    }


def with_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """BertModel's names as a larger class's file has them."""
    return {f"bert.{name}": value for name, value in tensors.items()}


Encoder = partial(Case, topology="encoder")

CASES = (
    Encoder("masked-lm", partial(bert, "BertForMaskedLM", 1)),
    Encoder("masked-lm-relu", partial(bert, "BertForMaskedLM", 2, hidden_act="relu", intermediate_size=61)),
    Encoder("masked-lm-published", partial(bert, "BertForMaskedLM", 7, with_pooler)),
    Encoder("model", partial(bert, "BertModel", 3)),
    Encoder("model-prefixed", partial(bert, "BertModel", 4, with_prefix)),
    Encoder("pretraining", partial(bert, "BertForPreTraining", 5)),
    Encoder("classes", partial(bert, "BertForSequenceClassification", 8, num_labels=3)),
    Encoder("tokens", partial(bert, "BertForTokenClassification", 9, num_labels=5)),
    Encoder("spans", partial(bert, "BertForQuestionAnswering", 10)),
    Encoder("first-names", partial(bert, "BertForPreTraining", 6, first_names)),
)
