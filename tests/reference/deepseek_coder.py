"""DeepSeek Coder: transformers' LlamaForCausalLM with linearly scaled positions."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-2,
    "rope_parameters": {"rope_type": "linear", "rope_theta": 150.0, "factor": 4.0},
}


def deepseek_coder(seed: int, **changes: Any) -> FromTransformers:
    """A tiny Llama under the name of the family, with the given differences from SIZES."""
    respell = older_rope
    return make("LlamaForCausalLM", LlamaConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("6.7b", partial(deepseek_coder, 1, num_key_value_heads=6), length=31, spec="deepseek-coder"),
    Case("33b", partial(deepseek_coder, 2), length=31, spec="deepseek-coder"),
)
