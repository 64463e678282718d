"""GPT-2: transformers' GPT2LMHeadModel, with its options of scale and width, and in its first file layout."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "n_embd": 60,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 48,
    "layer_norm_epsilon": 1e-1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def gpt2(
    seed: int, weights: Rename | None = None, class_name: str = "GPT2LMHeadModel", **changes: Any
) -> FromTransformers:
    """A tiny GPT-2 with the given differences from SIZES."""
    return make(class_name, GPT2Config(**SIZES | changes), seed, weights=weights)


def first_layout(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without `transformer.`, and every layer's mask buffer next to its weights."""
    renamed = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    size = SIZES["n_positions"]
    for layer in range(SIZES["n_layer"]):
        renamed[f"h.{layer}.attn.bias"] = torch.ones(size, size).tril()[None, None]
        renamed[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return renamed


CASES = (
    Case("plain", partial(gpt2, 1)),
    Case("scaled-by-layer", partial(gpt2, 2, scale_attn_by_inverse_layer_idx=True)),
    Case("unscaled", partial(gpt2, 3, scale_attn_weights=False)),
    Case("wide", partial(gpt2, 4, n_inner=77, activation_function="relu")),
    Case("untied", partial(gpt2, 5, tie_word_embeddings=False)),
    Case("tokens", partial(gpt2, 7, class_name="GPT2ForTokenClassification", num_labels=3), topology="encoder"),
    Case("first-layout", partial(gpt2, 6, first_layout)),
)
