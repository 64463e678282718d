"""XLM-RoBERTa-XL: transformers' classes."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PreTrainedConfig, XLMRobertaXLConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.roberta import SIZES


def prenorm(class_name: str, config_class: type[PreTrainedConfig], seed: int, **changes: Any) -> FromTransformers:
    """A tiny RoBERTa with norms before the branches, of one of the classes."""
    config = config_class(**SIZES | changes)
    # For an untied head only the projection's own bias counts.
    outside = [] if config.tie_word_embeddings or "ForMaskedLM" not in class_name else ["lm_head.bias"]
    return make(class_name, config, seed, outside=outside, first_position=config.pad_token_id + 1)


Encoder = partial(Case, topology="encoder")
xl = partial(prenorm, config_class=XLMRobertaXLConfig)
CASES = (
    Encoder("masked-lm", partial(xl, "XLMRobertaXLForMaskedLM", seed=1, hidden_act="relu")),
    Encoder("masked-lm-untied", partial(xl, "XLMRobertaXLForMaskedLM", seed=2, tie_word_embeddings=False)),
    Encoder("model", partial(xl, "XLMRobertaXLModel", seed=3, type_vocab_size=1, pad_token_id=3)),
)
