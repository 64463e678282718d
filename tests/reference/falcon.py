"""Falcon: transformers' FalconForCausalLM in the arrangements of 7B, 40B, 11B and the RW models.

Its eager attention adds ALiBi twice, so the reference is its `sdpa`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import FalconConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "layer_norm_epsilon": 1e-1,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 250.0},
}
SMALL: dict[str, Any] = {"new_decoder_architecture": False, "multi_query": True, "parallel_attn": True}
LARGE: dict[str, Any] = {"new_decoder_architecture": True, "num_kv_heads": 2}
RW: dict[str, Any] = {
    "new_decoder_architecture": False,
    "multi_query": False,
    "parallel_attn": False,
    "alibi": True,
    "bias": True,
}


def falcon(seed: int, **changes: Any) -> FromTransformers:
    """A tiny Falcon with the given differences from SIZES."""
    return make("FalconForCausalLM", FalconConfig(**SIZES | changes), seed)


CASES = (
    Case("7b", partial(falcon, 1, **SMALL)),
    Case("40b", partial(falcon, 2, **LARGE)),
    Case("11b", partial(falcon, 3, **LARGE, num_ln_in_parallel_attn=1, tie_word_embeddings=False, ffn_hidden_size=77)),
    Case("rw", partial(falcon, 4, **RW | {"num_attention_heads": 12, "hidden_size": 72}), length=23),
    Case("rw-more-heads", partial(falcon, 5, **RW | {"num_attention_heads": 20, "hidden_size": 80}), length=23),
    Case("sequential", partial(falcon, 6, **SMALL | {"parallel_attn": False, "bias": True})),
)
