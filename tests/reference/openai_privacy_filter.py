"""OpenAI Privacy Filter: transformers' classes, in their eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import OpenAIPrivacyFilterConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.gpt_oss import SIZES


def privacy_filter(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny model of one of the classes, its sinks large enough to take weight."""
    reference = make(
        class_name, OpenAIPrivacyFilterConfig(**SIZES | {"pad_token_id": 0} | changes), seed, attention="eager"
    )
    with torch.no_grad():
        for name, parameter in reference.model.named_parameters():
            if name.endswith("sinks"):
                parameter.add_(1.0)
    return reference


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("tokens", partial(privacy_filter, "OpenAIPrivacyFilterForTokenClassification", 1), length=29),
    Encoder("model", partial(privacy_filter, "OpenAIPrivacyFilterModel", 2, sliding_window=3, attention_bias=False)),
)
