"""DeBERTa 1: transformers' classes, with and without positions that the embedding adds."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DebertaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES
from tests.reference.deberta_v2 import OPTIONS

BASE: dict[str, Any] = OPTIONS | {"pos_att_type": "c2p|p2c"}
NEAR: dict[str, Any] = BASE | {"max_relative_positions": 7, "position_biased_input": True, "type_vocab_size": 3}


def deberta(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny DeBERTa of one of the classes."""
    return make(class_name, DebertaConfig(**SIZES | changes), seed, attention="eager")


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(deberta, "DebertaForMaskedLM", 1, **BASE)),
    Encoder("model", partial(deberta, "DebertaModel", 2, **NEAR)),
    Encoder("tokens", partial(deberta, "DebertaForTokenClassification", 3, num_labels=5, **BASE)),
)
