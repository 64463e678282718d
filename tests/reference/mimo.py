"""MiMo: the arithmetic of transformers' Qwen2ForCausalLM, next to the layers that predict further tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference import deepseek_llm
from tests.reference.spelling import named

SIZES = deepseek_llm.SIZES | {"head_dim": 8}
PREDICTION = ("input_proj", "token_layernorm", "self_attn.q_proj", "mlp.up_proj", "final_layernorm")


def mimo(seed: int, **changes: Any) -> FromTransformers:
    """A tiny MiMo with the given differences from SIZES."""
    return make("Qwen2ForCausalLM", Qwen2Config(**SIZES | changes), seed, respell=respelled, weights=with_prediction)


def respelled(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of MiMo's files."""
    more = {"num_nextn_predict_layers": 1, "attention_bias": True, "use_mrope": False}
    return named("mimo", "MiMoForCausalLM")(config) | more


def with_prediction(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with some of a prediction layer, which the main model does not read."""
    return tensors | {f"model.mtp_layers.0.{part}.weight": torch.ones(60) for part in PREDICTION}


CASES = (
    Case("published", partial(mimo, 1)),
    Case("tied", partial(mimo, 2, tie_word_embeddings=True, num_key_value_heads=6)),
)
