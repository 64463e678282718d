"""Llama 4: transformers' Llama4ForCausalLM, and the text model of Llama4ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Llama4TextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 36,
    "intermediate_size": 22,
    "intermediate_size_mlp": 46,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.05,
    "rope_parameters": {"rope_type": "default", "rope_theta": 60.0},
    "num_local_experts": 5,
    "no_rope_layer_interval": 3,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 5,
    "floor_scale": 4,
    "attn_scale": 0.6,
    "pad_token_id": None,
}
GAINS = {"router.weight": 2.0, "experts.gate_up_proj": 1.5, "experts.down_proj": 2.0}
LISTS: dict[str, Any] = {
    "num_hidden_layers": 3,
    "num_experts_per_tok": 2,
    "moe_layers": [0, 1],
    "no_rope_layers": [0, 1, 1],
    "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
    "use_qk_norm": False,
    "attn_temperature_tuning": False,
    "attention_bias": True,
}


def llama4(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Llama4ForCausalLM", Llama4TextConfig(**SIZES | changes), seed, gains=GAINS)


CASES = (Case("interleaved", partial(llama4, 1), length=19), Case("lists", partial(llama4, 2, **LISTS), length=19))
