"""ALBERT: transformers' classes, with one set of weights for all layers and with several."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AlbertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "embedding_size": 34,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-1,
}


def albert(
    class_name: str, seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any
) -> FromTransformers:
    """A tiny ALBERT of one of the classes."""
    # The head that orders sentences is not part of what archc computes, nor is a bias that an untied head leaves.
    outside = ["sop_classifier"] + ["predictions.bias"] * (not changes.get("tie_word_embeddings", True))
    config = AlbertConfig(**SIZES | changes)
    return make(class_name, config, seed, weights=weights, respell=respell, outside=outside)


def with_pooler(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The masked-language model among all that was pretrained."""
    width = SIZES["hidden_size"]
    return tensors | {
        "albert.pooler.weight": torch.ones(width, width),
        "albert.pooler.bias": torch.ones(width),
        "sop_classifier.classifier.weight": torch.ones(2, width),
        "sop_classifier.classifier.bias": torch.ones(2),
        "predictions.decoder.bias": tensors["predictions.bias"].clone(),
    }


def published(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of published files."""
    return config | {
        "down_scale_factor": 1,
        "gap_size": 0,
        "inner_group_num": 1,
        "net_structure_type": 0,
        "num_memory_blocks": 0,
        "position_embedding_type": "absolute",
    }


Encoder = partial(Case, topology="encoder")

CASES = (
    Encoder("masked-lm", partial(albert, "AlbertForMaskedLM", 1)),
    Encoder("masked-lm-published", partial(albert, "AlbertForMaskedLM", 2, with_pooler, published)),
    Encoder("masked-lm-groups", partial(albert, "AlbertForMaskedLM", 3, num_hidden_layers=5, num_hidden_groups=2)),
    Encoder("masked-lm-untied", partial(albert, "AlbertForMaskedLM", 4, tie_word_embeddings=False, hidden_act="gelu")),
    Encoder("model", partial(albert, "AlbertModel", 5, embedding_size=60, hidden_act="relu")),
    Encoder("classes", partial(albert, "AlbertForSequenceClassification", 7, num_labels=3)),
    Encoder("pretraining", partial(albert, "AlbertForPreTraining", 6)),
)
