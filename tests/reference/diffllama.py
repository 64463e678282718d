"""DiffLlama: transformers' DiffLlamaForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import DiffLlamaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def diffllama(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("DiffLlamaForCausalLM", DiffLlamaConfig(**SIZES | changes), seed)


CASES = (
    Case("plain", partial(diffllama, 1)),
    Case("biased", partial(diffllama, 2, attention_bias=True, num_key_value_heads=8, tie_word_embeddings=True)),
    Case("two-kv-heads", partial(diffllama, 3, num_attention_heads=6, num_key_value_heads=2, head_dim=None)),
)
