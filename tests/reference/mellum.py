"""Mellum: transformers' MellumForCausalLM, with rotary settings of each layer type, and with the class's own."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import MellumConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import YARN
from tests.reference.qwen3_moe import SIZES as QWEN3_MOE

SIZES: dict[str, Any] = QWEN3_MOE | {
    "sliding_window": 4,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    "rope_parameters": {
        "full_attention": YARN | {"rope_theta": 200.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}
OWN_ROPE: dict[str, Any] = {"rope_parameters": None, "mlp_layer_types": ["sparse", "dense", "sparse"]}


def without_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A file without rotary settings, and with the window's switch of the published files."""
    config.pop("rope_parameters")
    return config | {"use_sliding_window": True, "mtp_layer_types": None}


def mellum(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("MellumForCausalLM", MellumConfig(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("dense-layer-biased", partial(mellum, 2, without_defaults, attention_bias=True, **OWN_ROPE)),
    Case("by-type", partial(mellum, 1), length=41),
)
