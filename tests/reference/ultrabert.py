"""UltraBERT: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import UltrabertConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 40,
    "rms_norm_eps": 0.1,
    "sliding_window": 3,
    "prediction_head_size": 44,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}


def ultrabert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny model of one of the classes."""
    return make(class_name, UltrabertConfig(**SIZES | changes), seed)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(ultrabert, "UltrabertForMaskedLM", 1)),
    Encoder(
        "classes", partial(ultrabert, "UltrabertForSequenceClassification", 2, num_labels=3, classifier_pooling="mean")
    ),
)
