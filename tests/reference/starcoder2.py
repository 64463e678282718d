"""StarCoder2: transformers' Starcoder2ForCausalLM, with and without its window."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Starcoder2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "norm_epsilon": 1e-2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 170.0},
}


def starcoder2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny StarCoder2 with the given differences from SIZES."""
    return make("Starcoder2ForCausalLM", Starcoder2Config(**SIZES | changes), seed, respell=respell)


def hub_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of the published files."""
    rope = config.pop("rope_parameters")
    return config | {
        "rope_theta": rope["rope_theta"],
        "norm_type": "layer_norm",
        "mlp_type": "default",
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu",
        "scale_attn_weights": True,
        "attention_softmax_in_fp32": True,
    }


CASES = (
    Case("plain", partial(starcoder2, 1)),
    Case("window", partial(starcoder2, 2, hub_keys, sliding_window=5)),
    Case("untied", partial(starcoder2, 3, tie_word_embeddings=False, use_bias=False, hidden_act="gelu")),
)
