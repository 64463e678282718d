"""The text model of PaddleOCR-VL: transformers' PaddleOCRVLForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.ernie4_5 import SIZES
from tests.reference.multimodal import make_multimodal


def without_nesting(config: dict[str, Any]) -> dict[str, Any]:
    """The keys of the text model next to those of the file."""
    return config.pop("text_config") | config


def paddleocr_vl(seed: int, **options: Any) -> FromTransformers:
    """The text model of a tiny PaddleOCR-VL, whose rotary positions have three axes."""
    rope = {"rope_type": "default", "rope_theta": 300.0, "mrope_section": [2, 2, 3]}
    sizes = SIZES | {"head_dim": 14, "use_bias": True, "rope_parameters": rope}
    return make_multimodal("PaddleOCRVL", sizes, seed, "paddleocr_vl_vision", "paddleocr_vl_text", **options)


CASES = (
    Case("pictures", partial(paddleocr_vl, 1)),
    Case("without-nesting", partial(paddleocr_vl, 2, respell=without_nesting)),
)
