"""BERT for generation: transformers' classes, as an encoder and as a decoder."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BertGenerationConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

# A tied head repeats its input, unless positions count more.
GAINS = {"position_embeddings.weight": 5.0, "LayerNorm.bias": 0.3, "lm_head.bias": 0.1}


def bert_generation(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny model of one of the classes."""
    sizes = {key: value for key, value in SIZES.items() if key != "type_vocab_size"}
    return make(class_name, BertGenerationConfig(**sizes | changes), seed, gains=GAINS)


CASES = (
    Case("encoder", partial(bert_generation, "BertGenerationEncoder", 1), topology="encoder"),
    Case(
        "decoder", partial(bert_generation, "BertGenerationDecoder", 2, is_decoder=True, hidden_act="relu"), tokens=24
    ),
)
