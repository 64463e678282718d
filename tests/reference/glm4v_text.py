"""The text model of GLM-4.1V: transformers' Glm4vForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.glm4 import SIZES as GLM_SIZES
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {key: value for key, value in GLM_SIZES.items() if key != "head_dim"} | {
    "hidden_size": 72,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 300.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [1, 1, 1],
    },
}


def glm4v(seed: int) -> FromTransformers:
    """The text model of a tiny GLM-4.1V, whose rotary positions have three axes."""
    return make_multimodal("Glm4v", SIZES, seed, "glm4v_vision", "glm4v_text")


CASES = (Case("pictures", partial(glm4v, 1)),)
