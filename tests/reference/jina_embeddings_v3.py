"""Jina Embeddings v3: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import JinaEmbeddingsV3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.nomic_bert import SIZES


def jina(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny Jina Embeddings v3 of one of the classes."""
    config = JinaEmbeddingsV3Config(**SIZES | changes)
    # For an untied head only the projection's own bias counts.
    outside = [] if config.tie_word_embeddings or "ForMaskedLM" not in class_name else ["lm_head.bias"]
    return make(class_name, config, seed, outside=outside)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(jina, "JinaEmbeddingsV3ForMaskedLM", 1, hidden_act="relu")),
    Encoder("masked-lm-untied", partial(jina, "JinaEmbeddingsV3ForMaskedLM", 2, tie_word_embeddings=False)),
    Encoder("model", partial(jina, "JinaEmbeddingsV3Model", 3, type_vocab_size=1)),
)
