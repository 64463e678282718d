"""Command R7B: transformers' Cohere2ForCausalLM, its kinds of layers by list and by pattern."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Cohere2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "layer_norm_eps": 0.2,
    "logit_scale": 0.3,
    "sliding_window": 4,
}


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """The keys that the first files say their layers with."""
    config = older_rope({key: value for key, value in config.items() if key != "layer_types"})
    return config | {
        "sliding_window_pattern": 4,
        "layer_switch": 4,
        "order_of_interleaved_layers": "local_attn_first",
        "position_embedding_type": "rope_gptj",
        "rotary_pct": 1.0,
        "cache_implementation": "hybrid",
        "use_gated_activation": True,
        "use_parallel_block": True,
        "use_parallel_embedding": False,
        "use_embedding_sharing": True,
    }


def cohere2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Cohere2ForCausalLM", Cohere2Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("by-list", partial(cohere2, 1)),
    Case("by-pattern", partial(cohere2, 2, older_file)),
    Case("mixed", partial(cohere2, 3, layer_types=["full_attention", "sliding_attention", "sliding_attention"] * 2)),
    Case("biased", partial(cohere2, 4, attention_bias=True, logit_scale=1.3)),
)
