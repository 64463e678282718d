"""Granite: transformers' GraniteForCausalLM with its four multipliers."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GraniteConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "embedding_multiplier": 3.5,
    "attention_multiplier": 0.13,
    "residual_multiplier": 0.6,
    "logits_scaling": 2.5,
}


def granite(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("GraniteForCausalLM", GraniteConfig(**SIZES | changes), seed, respell=respell)


def granite4_vision(seed: int) -> FromTransformers:
    """The text model of a tiny Granite 4 Vision."""
    more = {"deepstack_layer_map": [[0, 0]], "spatial_target_layers": [1], "downsample_rate": "1/2"}
    return make_multimodal("Granite4Vision", SIZES, seed, "clip_vision_model", "granite4_vision_text", more)


CASES = (
    Case("pictures", partial(granite4_vision, 5)),
    Case("multiplied", partial(granite, 1)),
    Case("tied-older-file", partial(granite, 2, older_rope, tie_word_embeddings=True)),
    Case("unmultiplied", partial(granite, 3, embedding_multiplier=1.0, residual_multiplier=1.0, logits_scaling=1.0)),
    Case("biased", partial(granite, 4, attention_bias=True, mlp_bias=True)),
)
