"""CodeGen: transformers' CodeGenForCausalLM, whose attention has only an eager form."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import CodeGenConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

# Heads are dealt to four cores, so their number is a multiple of four.
SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "n_embd": 80,
    "n_layer": 3,
    "n_head": 8,
    "n_positions": 48,
    "rotary_dim": 6,
    "layer_norm_epsilon": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def codegen(
    seed: int, respell: Respell | None = None, weights: Rename | None = None, **changes: Any
) -> FromTransformers:
    """A tiny CodeGen with the given differences from SIZES."""
    config = CodeGenConfig(**SIZES | changes)
    return make("CodeGenForCausalLM", config, seed, respell=respell, weights=weights, attention="eager")


def older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of published files."""
    return config | {"gradient_checkpointing": False, "scale_attn_weights": True, "n_inner": None, "n_ctx": 2048}


def with_masks(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The buffers that published files keep."""
    masks = {f"transformer.h.{layer}.attn.causal_mask": torch.ones(1, 1, 48, 48).bool() for layer in range(3)}
    return tensors | masks


CASES = (
    Case("plain", partial(codegen, 1)),
    Case("older-file", partial(codegen, 2, older_keys, with_masks, rotary_dim=4)),
    Case("whole-head", partial(codegen, 3, n_head=4, rotary_dim=20, n_inner=77, activation_function="relu")),
    Case("tied", partial(codegen, 4, tie_word_embeddings=True)),
)
