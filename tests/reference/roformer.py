"""RoFormer: transformers' classes, with a token table of the stream's width and with one of its own."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PreTrainedModel, RoFormerConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES


def roformer(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny RoFormer of one of the classes."""
    angles: list[Any] = []

    def keep(model: PreTrainedModel) -> None:
        angles.append(model.base_model.encoder.embed_positions.weight.detach().clone())

    config = RoFormerConfig(**SIZES | changes)
    # For an untied head only the projection's own bias counts.
    outside = ["embed_positions"] + ([] if config.tie_word_embeddings else ["cls.predictions.bias"])
    made = make(class_name, config, seed, attention="eager", outside=outside, prepare=keep)
    made.model.base_model.encoder.embed_positions.weight.data.copy_(angles[0])
    return made


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(roformer, "RoFormerForMaskedLM", 1, hidden_act="relu")),
    Encoder("masked-lm-narrow-table", partial(roformer, "RoFormerForMaskedLM", 2, embedding_size=36)),
    Encoder("model", partial(roformer, "RoFormerModel", 3, type_vocab_size=2)),
)
