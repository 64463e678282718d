"""Skywork: the arithmetic of transformers' LlamaForCausalLM under Skywork's name."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import LlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
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


def skywork(seed: int, **changes: Any) -> FromTransformers:
    """A tiny Llama under the name of the family, with the given differences from SIZES."""
    respell = named("skywork", "SkyworkForCausalLM")
    return make("LlamaForCausalLM", LlamaConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("plain", partial(skywork, 1, num_key_value_heads=6)),
    Case(
        "linear",
        partial(skywork, 2, rope_parameters={"rope_type": "linear", "rope_theta": 200.0, "factor": 3.0}),
        length=31,
    ),
)
