"""Yi: the arithmetic of transformers' LlamaForCausalLM under the names of Yi's own first files."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Rename, make
from tests.reference.spelling import named

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}


def yi(seed: int, weights: Rename | None = None, **changes: Any) -> FromTransformers:
    """A tiny Llama under the name of the family, with the given differences from SIZES."""
    respell = named("Yi", "YiForCausalLM")
    return make("LlamaForCausalLM", LlamaConfig(**SIZES | changes), seed, respell=respell, weights=weights)


def first_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The norms as the first files name them."""
    names = {"input_layernorm": "ln1", "post_attention_layernorm": "ln2"}
    return {".".join(names.get(part, part) for part in name.split(".")): value for name, value in tensors.items()}


CASES = (
    Case("grouped", partial(yi, 1)),
    Case("single-key-head", partial(yi, 2, num_key_value_heads=1)),
    Case("first-names", partial(yi, 3, first_names)),
)
