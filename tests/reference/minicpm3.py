"""MiniCPM 3: transformers' MiniCPM3ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MiniCPM3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

# Latents of about 1e-3, next to which the eps of 1e-6 counts; queries and outputs make up for it.
GAINS = {
    "q_a_proj.weight": 1e-3,
    "kv_a_proj_with_mqa.weight": 1e-3,
    "q_a_proj.bias": 1e-3,
    "kv_a_proj_with_mqa.bias": 1e-3,
    "q_b_proj.weight": 300.0,
    "q_proj.weight": 300.0,
    "kv_b_proj.weight": 3e-3,
    "o_proj.weight": 300.0,
}
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "q_lora_rank": 14,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 5,
    "qk_rope_head_dim": 6,
    "v_head_dim": 7,
    "scale_emb": 3,
    "scale_depth": 1.7,
    "dim_model_base": 30,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 300.0,
    "long_factor": [1.5, 2.0, 4.0],
    "short_factor": [1.0, 1.2, 1.3],
    "original_max_position_embeddings": 8,
}


def minicpm3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = MiniCPM3Config(**SIZES | changes)
    return make("MiniCPM3ForCausalLM", config, seed, gains=GAINS, respell=respell)


CASES = (
    Case("tied-older-file", partial(minicpm3, 1, older_rope)),
    Case("longrope", partial(minicpm3, 2, rope_parameters=LONG, tie_word_embeddings=False), depends_on_calls=True),
    Case("queries-projected-biased", partial(minicpm3, 3, q_lora_rank=None, attention_bias=True, mlp_bias=True)),
)
