"""LUKE: transformers' classes, for a text without entities."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LukeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.roberta import SIZES

ENTITIES = ("entity_embeddings", "entity_predictions", "w2e_query", "e2w_query", "e2e_query")


def luke(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny LUKE of one of the classes."""
    pooler = ["pooler"] if class_name == "LukeForMaskedLM" else []
    config = LukeConfig(**SIZES | {"entity_vocab_size": 7, "entity_emb_size": 20} | changes)
    return make(
        class_name,
        config,
        seed,
        attention="eager",
        outside=[*ENTITIES, *pooler],
        first_position=config.pad_token_id + 1,
    )


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(luke, "LukeForMaskedLM", 1)),
    Encoder("model", partial(luke, "LukeModel", 2, use_entity_aware_attention=False, pad_token_id=3)),
    Encoder("classes", partial(luke, "LukeForSequenceClassification", 3, num_labels=3)),
)
