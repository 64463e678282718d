"""GPT: transformers' OpenAIGPTLMHeadModel, which keeps no state between calls."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import OpenAIGPTConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "n_embd": 60,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 48,
    "layer_norm_epsilon": 1e-2,
}


def gpt(seed: int, weights: Rename | None = None, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny GPT with the given differences from SIZES."""
    config = OpenAIGPTConfig(**SIZES | changes)
    options: dict[str, Any] = {"weights": weights, "respell": respell, "cached": False, "attention": "eager"}
    return make("OpenAIGPTLMHeadModel", config, seed, **options)


def first_layout(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without `transformer.`, and every layer's mask buffer next to its weights."""
    renamed = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    size = SIZES["n_positions"]
    return renamed | {f"h.{n}.attn.bias": torch.ones(size, size).tril()[None, None] for n in range(SIZES["n_layer"])}


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of the published file."""
    return config | {"n_ctx": 48, "n_special": 0, "predict_special_tokens": True}


CASES = (
    Case("plain", partial(gpt, 1)),
    Case("first-layout", partial(gpt, 2, first_layout, hub_keys)),
    Case("swish-untied", partial(gpt, 3, afn="swish", tie_word_embeddings=False)),
)
