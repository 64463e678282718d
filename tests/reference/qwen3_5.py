"""Qwen3.5, dense: transformers' Qwen3_5ForCausalLM, and the text model of Qwen3_5ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Qwen3_5TextConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.multimodal import make_multimodal
from tests.reference.qwen3_next import GAINS, SIZES, shorten_keys

DENSE: dict[str, Any] = {
    key: value for key, value in SIZES.items() if not key.startswith(("num_experts", "moe", "shared"))
}
ROPE = {"rope_parameters": {**SIZES["rope_parameters"], "mrope_section": [1, 1, 0], "mrope_interleaved": True}}


def qwen3_5(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from DENSE."""
    config = Qwen3_5TextConfig(**DENSE | changes)
    made = make("Qwen3_5ForCausalLM", config, seed, gains=GAINS, cached=False, unit_offset=True)
    shorten_keys(made.model)
    return made


def pictures(seed: int) -> FromTransformers:
    """The text model of a tiny model with a vision part."""
    sizes = DENSE | ROPE | {"num_hidden_layers": 2, "layer_types": SIZES["layer_types"][:2]}
    options: dict[str, Any] = {"gains": GAINS, "cached": False, "unit_offset": True}
    made = make_multimodal("Qwen3_5", sizes, seed, "qwen3_5", "qwen3_5_text", **options)
    shorten_keys(made.model)
    return made


CASES = (
    Case("tied", partial(qwen3_5, 1, tie_word_embeddings=True), length=37),
    Case("pictures", partial(pictures, 2)),
)
