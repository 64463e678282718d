"""The text encoder of EmbeddingGemma 2: transformers' EmbeddingGemma2TextModel."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import EmbeddingGemma2Config, EmbeddingGemma2TextConfig, PreTrainedModel

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.gemma4 import GAINS, ROPES
from tests.reference.gemma4 import SIZES as GEMMA4_SIZES

SIZES: dict[str, Any] = {
    key: value
    for key, value in GEMMA4_SIZES.items()
    if key not in ("num_kv_shared_layers", "vocab_size_per_layer_input")
} | {"num_global_key_value_heads": 3, "embedding_dim": 22, "num_hidden_layers": 4, "layer_types": None}


def text_model(model: Any) -> Any:
    """The encoder of text, alone or within the class that also reads pictures and sound."""
    return getattr(model, "language_model", model)


def learn_scales(model: PreTrainedModel) -> None:
    """Make the factor of each layer a parameter, which is counted and gets a random number."""
    for layer in text_model(model).layers:
        del layer.layer_scalar
        layer.layer_scalar = nn.Parameter(torch.ones(1))


def embedding_gemma2(seed: int, alone: bool = True, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES, and layer scales near one."""
    config: Any = EmbeddingGemma2TextConfig(**SIZES | changes)
    name = "EmbeddingGemma2TextModel" if alone else "EmbeddingGemma2Model"
    if not alone:
        config = EmbeddingGemma2Config(text_config=config, vision_config=None, audio_config=None)
    gains = {**GAINS, "embedding_projection.weight": 4.0}
    reference = make(name, config, seed, prepare=learn_scales, gains=gains)
    with torch.no_grad():
        for layer in text_model(reference.model).layers:
            layer.layer_scalar.add_(1.0)
    return reference


LIST: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"] * 2, "attention_bias": True}
Encoder = partial(Case, topology="encoder")
CASES = (
    Encoder("pattern", partial(embedding_gemma2, 1, False)),
    Encoder("by-list", partial(embedding_gemma2, 2, rope_parameters=ROPES, **LIST)),
)
