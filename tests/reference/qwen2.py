"""Qwen2: transformers' Qwen2ForCausalLM, with and without sliding windows."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Qwen2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 72,
    "intermediate_size": 92,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-1,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 200.0},
}
WINDOW: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}


def qwen2(seed: int, newer_file: bool = True, class_name: str = "Qwen2ForCausalLM", **changes: Any) -> FromTransformers:
    """A tiny Qwen2; `newer_file` keeps the `layer_types` that files of transformers 5 carry, and older ones lack."""

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config if newer_file else {key: value for key, value in config.items() if key != "layer_types"}

    return make(class_name, Qwen2Config(**SIZES | changes), seed, respell=respell)


def qwen2_5_vl(seed: int, respell: Respell | None = None) -> FromTransformers:
    """The text model of a tiny Qwen2.5-VL, whose rotary positions have three axes."""
    rope = {**SIZES["rope_parameters"], "mrope_section": [2, 2, 2]}
    return make_multimodal(
        "Qwen2_5_VL", SIZES | {"rope_parameters": rope}, seed, "qwen2_5_vl", "qwen2_5_vl_text", respell=respell
    )


def without_nesting(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the text model next to those of the file, as published, with the first spelling of rotary axes."""
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    scaling = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    return text | config | {"rope_theta": rope["rope_theta"], "rope_scaling": scaling}


def llava(seed: int) -> FromTransformers:
    """The text model of a tiny LLaVA."""
    return make_multimodal("Llava", SIZES, seed, "clip_vision_model", "qwen2")


CASES = (
    Case("plain", partial(qwen2, 1)),
    Case("older-file", partial(qwen2, 2, newer_file=False, tie_word_embeddings=True)),
    Case("window", partial(qwen2, 3, **WINDOW)),
    Case("window-tied", partial(qwen2, 4, tie_word_embeddings=True, **WINDOW)),
    Case("window-older-file", partial(qwen2, 5, newer_file=False, **WINDOW)),
    Case(
        "window-mixed",
        partial(qwen2, 6, **WINDOW, layer_types=["sliding_attention", "full_attention"] * 2),
    ),
    Case("score", partial(qwen2, 10, class_name="Qwen2ForSequenceClassification", num_labels=1), topology="encoder"),
    Case("llava", partial(llava, 7)),
    Case("vl", partial(qwen2_5_vl, 8)),
    Case("vl-published", partial(qwen2_5_vl, 9, without_nesting)),
)
