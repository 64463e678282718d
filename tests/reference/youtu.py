"""Youtu-LLM: transformers' YoutuForCausalLM, with and without a latent of the queries."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import YoutuConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.deepseek_v2 import YARN
from tests.reference.minicpm3 import GAINS
from tests.reference.spelling import older_rope

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
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 7,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
}


def youtu(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("YoutuForCausalLM", YoutuConfig(**SIZES | changes), seed, gains=GAINS, respell=respell)


CASES = (
    Case("tied", partial(youtu, 1)),
    Case("yarn-biased-older-file", partial(youtu, 2, older_rope, rope_parameters=YARN, attention_bias=True), length=41),
    Case("half", partial(youtu, 3, q_lora_rank=None, rope_interleave=False, tie_word_embeddings=False)),
)
