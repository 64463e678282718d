"""ESM-1b and ESM-2: transformers' classes, whose text has mask tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import EsmConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.roberta import SIZES

PROTEINS: dict[str, Any] = {"vocab_size": 33, "mask_token_id": 32, "token_dropout": True}
ROTARY: dict[str, Any] = PROTEINS | {"position_embedding_type": "rotary", "rope_theta": 90.0}


def esm(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny ESM of one of the classes."""
    sizes = {name: value for name, value in SIZES.items() if name != "type_vocab_size"}
    return make(class_name, EsmConfig(**sizes | changes), seed, outside=["contact_head"], first_position=2)


Encoder = partial(Case, topology="encoder", length=24)
CASES = (
    Encoder("masked-lm-rotary", partial(esm, "EsmForMaskedLM", 1, **ROTARY)),
    Encoder("masked-lm", partial(esm, "EsmForMaskedLM", 2, emb_layer_norm_before=True, **PROTEINS)),
    Encoder("model", partial(esm, "EsmModel", 3)),
    Encoder("classes", partial(esm, "EsmForSequenceClassification", 4, num_labels=3, **ROTARY)),
)
