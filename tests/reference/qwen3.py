"""Qwen3: transformers' Qwen3ForCausalLM, with norms on queries and keys, with windows and biases."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Qwen3Config

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
    "head_dim": 14,
}
YARN: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 300.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 0.5,
    "beta_slow": 0.1,
}


def qwen3(
    seed: int, respell: Respell | None = None, class_name: str = "Qwen3ForCausalLM", **changes: Any
) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make(class_name, Qwen3Config(**SIZES | changes), seed, respell=respell)


def qwen3_vl(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny Qwen3-VL, whose rotary positions have three axes."""
    rope = {**SIZES["rope_parameters"], "mrope_section": [3, 2, 2], "mrope_interleaved": True}
    sizes = SIZES | {"rope_parameters": rope} | changes
    return make_multimodal("Qwen3VL", sizes, seed, "qwen3_vl", "qwen3_vl_text")


CASES = (
    Case("plain", partial(qwen3, 1)),
    Case("tied-older-file", partial(qwen3, 2, older_rope, tie_word_embeddings=True)),
    Case("biased", partial(qwen3, 3, attention_bias=True)),
    Case("window", partial(qwen3, 4, use_sliding_window=True, sliding_window=4, max_window_layers=1)),
    Case("yarn", partial(qwen3, 5, older_rope, rope_parameters=YARN), length=41),
    Case(
        "reranker",
        partial(qwen3, 7, class_name="Qwen3ForSequenceClassification", num_labels=1, tie_word_embeddings=True),
        topology="encoder",
    ),
    Case("pictures", partial(qwen3_vl, 6)),
)
