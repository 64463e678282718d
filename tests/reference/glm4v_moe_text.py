"""The text model of GLM-4.5V: transformers' Glm4vMoeForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.glm4_moe import SIZES as GLM_SIZES
from tests.reference.multimodal import make_multimodal
from tests.reference.selection_bias import with_selection_biases

SIZES: dict[str, Any] = GLM_SIZES | {
    "rope_parameters": GLM_SIZES["rope_parameters"] | {"mrope_section": [1, 1, 1]},
}


def glm4v_moe(seed: int) -> FromTransformers:
    """The text model of a tiny GLM-4.5V, whose rotary positions have three axes."""
    reference = make_multimodal("Glm4vMoe", SIZES, seed, "glm4v_moe_vision", "glm4v_moe_text")
    return with_selection_biases(reference, seed)


CASES = (Case("pictures", partial(glm4v_moe, 1)),)
