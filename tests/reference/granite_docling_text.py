"""The text model of Granite Docling: transformers' GraniteDoclingForConditionalGeneration."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.granite import SIZES
from tests.reference.multimodal import make_multimodal


def granite_docling(seed: int) -> FromTransformers:
    """The text model of a tiny Granite Docling."""
    sizes = SIZES | {"pad_token_id": 0}
    return make_multimodal("GraniteDocling", sizes, seed, "granite_docling_vision", "granite_docling_text")


CASES = (Case("pictures", partial(granite_docling, 1)),)
