"""The text model of GLM-OCR: transformers' GlmOcrForConditionalGeneration."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.glm4v_text import SIZES
from tests.reference.multimodal import make_multimodal


def glm_ocr(seed: int) -> FromTransformers:
    """The text model of a tiny GLM-OCR, whose heads are wider than their share of the residual stream."""
    sizes = SIZES | {"head_dim": 16, "rope_parameters": SIZES["rope_parameters"] | {"mrope_section": [1, 1, 2]}}
    return make_multimodal("GlmOcr", sizes, seed, "glm_ocr_vision", "glm_ocr_text")


CASES = (Case("pictures", partial(glm_ocr, 1)),)
