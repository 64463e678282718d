"""LFM2: transformers' Lfm2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Lfm2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
    "layer_types": ["conv", "full_attention", "conv"],
}
GAINS = {"conv.conv.weight": 3.0}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """As the published files spell it."""
    config = older_rope(config)
    config |= {"block_ff_dim": config.pop("intermediate_size"), "tie_embedding": config.pop("tie_word_embeddings")}
    del config["layer_types"]
    config |= {"full_attn_idxs": [1], "num_heads": 6, "block_dim": 36, "conv_dim": 36, "conv_dim_out": 36}
    return config | {"block_norm_eps": 0.1, "block_use_swiglu": True, "use_pos_enc": True, "block_mlp_init_scale": 1.0}


def lfm2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Lfm2ForCausalLM", Lfm2Config(**SIZES | changes), seed, gains=GAINS, respell=respell, cached=False)


CASES = (
    Case("hub-file", partial(lfm2, 1, hub_file, block_multiple_of=8, block_ffn_dim_multiplier=1.3)),
    Case(
        "biases-untied",
        partial(lfm2, 2, conv_bias=True, conv_L_cache=4, block_auto_adjust_ff_dim=False, tie_word_embeddings=False),
    ),
)
