"""RoBERTa: transformers' classes, and those of the families that share it.

A padding token amid a prompt would not count as a position in these classes; no text has one, but random prompts do, so
the classes are told the positions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import CamembertConfig, Data2VecTextConfig, RobertaConfig, XLMRobertaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-1,
    "pad_token_id": 1,
}
CONFIGS: dict[str, Any] = {
    "Roberta": RobertaConfig,
    "XLMRoberta": XLMRobertaConfig,
    "Camembert": CamembertConfig,
    "Data2VecText": Data2VecTextConfig,
}


def roberta(class_name: str, seed: int, weights: Rename | None = None, **changes: Any) -> FromTransformers:
    """A tiny RoBERTa of one of the classes."""
    config = CONFIGS[class_name.removesuffix("Model").partition("For")[0]](**SIZES | changes)
    # Untied, the projection's own bias counts, and the one next to it is left over.
    outside = [] if config.tie_word_embeddings or "ForMaskedLM" not in class_name else ["lm_head.bias"]
    return make(class_name, config, seed, weights=weights, outside=outside, first_position=config.pad_token_id + 1)


def with_pooler(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the pooler, position ids and second bias of published files to a masked-language model."""
    width = SIZES["hidden_size"]
    return tensors | {
        "roberta.pooler.dense.weight": torch.ones(width, width),
        "roberta.pooler.dense.bias": torch.ones(width),
        "roberta.embeddings.position_ids": torch.arange(40.0)[None],
        "lm_head.decoder.bias": tensors["lm_head.bias"].clone(),
        "lm_head.decoder.weight": tensors["roberta.embeddings.word_embeddings.weight"].clone(),
    }


Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("masked-lm", partial(roberta, "RobertaForMaskedLM", 1)),
    Encoder("model", partial(roberta, "RobertaModel", 2, pad_token_id=3)),
    Encoder("published-file", partial(roberta, "RobertaForMaskedLM", 3, with_pooler, hidden_act="relu")),
    Encoder("untied", partial(roberta, "RobertaForMaskedLM", 4, tie_word_embeddings=False)),
    Encoder("classes", partial(roberta, "RobertaForSequenceClassification", 8, num_labels=1)),
    Encoder("xlm-roberta", partial(roberta, "XLMRobertaForMaskedLM", 5, type_vocab_size=1)),
    Encoder("xlm-roberta-model", partial(roberta, "XLMRobertaModel", 6)),
    Encoder("camembert", partial(roberta, "CamembertForMaskedLM", 7)),
    Encoder("data2vec-text", partial(roberta, "Data2VecTextForMaskedLM", 8)),
    Encoder("data2vec-text-model", partial(roberta, "Data2VecTextModel", 9)),
)
