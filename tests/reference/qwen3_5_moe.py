"""Qwen3.5 with experts: the text model of transformers' Qwen3_5MoeForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.multimodal import make_multimodal
from tests.reference.qwen3_5 import ROPE
from tests.reference.qwen3_next import GAINS, SIZES, shorten_keys


def qwen3_5_moe(seed: int) -> FromTransformers:
    """The text model of a tiny model with a vision part."""
    sizes: dict[str, Any] = {key: value for key, value in SIZES.items() if key != "intermediate_size"} | ROPE
    sizes |= {"num_hidden_layers": 2, "layer_types": SIZES["layer_types"][:2]}
    options: dict[str, Any] = {"gains": GAINS, "cached": False, "unit_offset": True}
    made = make_multimodal("Qwen3_5Moe", sizes, seed, "qwen3_5_moe", "qwen3_5_moe_text", **options)
    shorten_keys(made.model)
    return made


CASES = (Case("pictures", partial(qwen3_5_moe, 1)),)
