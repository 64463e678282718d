"""EuroBERT: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import EuroBertConfig

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
    "rms_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 90.0},
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "mask_token_id": 3,
}
EVERY_BIAS: dict[str, Any] = {"attention_bias": True, "mlp_bias": True, "head_dim": 14, "hidden_act": "relu"}


def eurobert(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny EuroBERT of one of the classes."""
    return make(class_name, EuroBertConfig(**SIZES | changes), seed, gains={"classifier.weight": 5.0})


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(eurobert, "EuroBertForMaskedLM", 1)),
    Encoder("masked-lm-biased", partial(eurobert, "EuroBertForMaskedLM", 2, tie_word_embeddings=True, **EVERY_BIAS)),
    Encoder("model", partial(eurobert, "EuroBertModel", 3)),
    Encoder("classes-late", partial(eurobert, "EuroBertForSequenceClassification", 4, num_labels=3)),
    Encoder("classes-bos", partial(eurobert, "EuroBertForSequenceClassification", 5, classifier_pooling="bos")),
    Encoder("tokens", partial(eurobert, "EuroBertForTokenClassification", 6, num_labels=5)),
)
