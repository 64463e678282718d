"""The text model of ERNIE 4.5 VL: transformers' Ernie4_5_VLMoeForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.ernie4_5_moe import SIZES
from tests.reference.multimodal import make_multimodal


def ernie4_5_vl_moe(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny ERNIE 4.5 VL, whose rotary positions have three axes."""
    rope = {"rope_type": "default", "rope_theta": 300.0, "mrope_section": [2, 2, 1]}
    sizes = SIZES | {"moe_intermediate_size": [20, 12], "rope_parameters": rope} | changes
    return make_multimodal("Ernie4_5_VLMoe", sizes, seed, "ernie4_5_vl_moe_vision", "ernie4_5_vl_moe_text")


CASES = (
    Case("pictures", partial(ernie4_5_vl_moe, 1)),
    Case("biased", partial(ernie4_5_vl_moe, 2, use_bias=True, mlp_layer_types=["sparse", "dense", "sparse"])),
)
