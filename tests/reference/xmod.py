"""X-MOD: transformers' classes, with the adapters of their default language."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import XmodConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.roberta import SIZES

LANGUAGES: dict[str, Any] = {"languages": ["en_XX", "de_DE"], "default_language": "de_DE"}


def xmod(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny X-MOD of one of the classes."""
    config = XmodConfig(**SIZES | LANGUAGES | {"adapter_reduction_factor": 4} | changes)
    return make(class_name, config, seed, outside=["adapter_modules.en_XX"], first_position=config.pad_token_id + 1)


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(xmod, "XmodForMaskedLM", 1)),
    Encoder("model", partial(xmod, "XmodModel", 2, hidden_act="relu")),
)
