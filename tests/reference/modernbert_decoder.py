"""ModernBERT decoders: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ModernBertDecoderConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.modernbert import EVERY_BIAS, SIZES


def decoder(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny decoder of one of the classes."""
    return make(class_name, ModernBertDecoderConfig(**SIZES | changes), seed)


CASES = (
    Case("tied", partial(decoder, "ModernBertDecoderForCausalLM", 1)),
    Case(
        "biased-untied",
        partial(decoder, "ModernBertDecoderForCausalLM", 2, **EVERY_BIAS, tie_word_embeddings=False, local_attention=9),
    ),
    Case(
        "classes",
        partial(decoder, "ModernBertDecoderForSequenceClassification", 3, num_labels=3, classifier_bias=True),
        topology="encoder",
    ),
)
