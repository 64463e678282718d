"""Arcee: transformers' ArceeForCausalLM, with the rope scalings of its checkpoints past their trained length."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import ArceeConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "bos_token_id": 1,
    "eos_token_id": 2,
}
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 0.5,
    "beta_slow": 0.1,
}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 300.0,
    "factor": 6.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 0.7,
    "high_freq_factor": 3.0,
}


def arcee(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("ArceeForCausalLM", ArceeConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("plain", partial(arcee, 1)),
    Case("yarn", partial(arcee, 2, rope_parameters=YARN), length=31),
    Case("yarn-older-file", partial(arcee, 3, older_rope, rope_parameters=YARN, tie_word_embeddings=True), length=31),
    Case("llama3", partial(arcee, 4, rope_parameters=LLAMA3), length=31),
    Case("biased", partial(arcee, 5, attention_bias=True, mlp_bias=True, num_key_value_heads=6)),
)
