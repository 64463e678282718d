"""GPT-NeoX: transformers' GPTNeoXForCausalLM, parallel and sequential, and with what Pythia's files have besides."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GPTNeoXConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 96,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 170.0, "partial_rotary_factor": 0.25},
}


def gpt_neox(
    seed: int,
    weights: Rename | None = None,
    respell: Respell | None = None,
    rope: dict[str, Any] | None = None,
    **changes: Any,
) -> FromTransformers:
    """A tiny GPT-NeoX with the given differences from SIZES."""
    sizes = SIZES | changes
    if rope is not None:
        sizes["rope_parameters"] = SIZES["rope_parameters"] | rope
    return make("GPTNeoXForCausalLM", GPTNeoXConfig(**sizes), seed, weights=weights, respell=respell)


def with_buffers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Masks and frequencies next to the weights, as Pythia's files have them."""
    buffers: dict[str, Tensor] = {}
    for layer in range(SIZES["num_hidden_layers"]):
        stem = f"gpt_neox.layers.{layer}.attention"
        buffers[f"{stem}.bias"] = torch.ones(1, 1, 8, 8).tril()
        buffers[f"{stem}.masked_bias"] = torch.tensor(-1e9)
        buffers[f"{stem}.rotary_emb.inv_freq"] = torch.ones(2)
    return tensors | buffers


def older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The rotary settings as files before transformers 5 spell them."""
    rope = config.pop("rope_parameters")
    return config | {"rotary_emb_base": rope["rope_theta"], "rotary_pct": rope["partial_rotary_factor"]}


CASES = (
    Case("parallel", partial(gpt_neox, 1)),
    Case("sequential", partial(gpt_neox, 2, use_parallel_residual=False, hidden_act="gelu_fast")),
    Case("older-file", partial(gpt_neox, 3, with_buffers, older_keys)),
    Case("full-rotation", partial(gpt_neox, 4, rope={"partial_rotary_factor": 1.0}, attention_bias=False)),
    Case(
        "linear-tied",
        partial(gpt_neox, 5, rope={"rope_type": "linear", "factor": 3.0}, tie_word_embeddings=True),
        length=25,
    ),
)
