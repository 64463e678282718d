"""DeBERTa 2 and 3: transformers' classes, with the options of the published files and with the opposite ones."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DebertaV2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.bert import SIZES

OPTIONS: dict[str, Any] = {"type_vocab_size": 0, "relative_attention": True, "position_biased_input": False}
V3: dict[str, Any] = OPTIONS | {
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 6,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}
V2: dict[str, Any] = V3 | {"conv_kernel_size": 3, "conv_act": "gelu"}
# Distances beyond the table, and the options that no published file has together.
OTHERS: dict[str, Any] = OPTIONS | {
    "pos_att_type": "c2p",
    "max_relative_positions": 7,
    "position_biased_input": True,
    "type_vocab_size": 3,
    "legacy": False,
}


def deberta(class_name: str, seed: int, **changes: Any) -> FromTransformers:
    """A tiny DeBERTa 2 of one of the classes."""
    config = DebertaV2Config(**SIZES | changes)
    return make(class_name, config, seed, attention="eager")


Encoder = partial(Case, topology="encoder", length=24)
CASES = (
    Encoder("masked-lm-v2", partial(deberta, "DebertaV2ForMaskedLM", 1, **V2)),
    Encoder("model-v3", partial(deberta, "DebertaV2Model", 2, **V3)),
    Encoder("masked-lm-others", partial(deberta, "DebertaV2ForMaskedLM", 3, **OTHERS)),
    Encoder("classes", partial(deberta, "DebertaV2ForSequenceClassification", 4, num_labels=3, **V3)),
)
