"""The text model of Cosmos 3 Edge: transformers' Cosmos3EdgeForConditionalGeneration."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.arcee import SIZES
from tests.reference.multimodal import make_multimodal


def cosmos3_edge(seed: int) -> FromTransformers:
    """The text model of a tiny Cosmos 3 Edge, whose rotary positions have three axes."""
    rope = {"rope_type": "default", "rope_theta": 300.0, "mrope_section": [3, 2, 2]}
    sizes = SIZES | {"head_dim": 14, "attention_bias": True, "mlp_bias": True, "rope_parameters": rope}
    return make_multimodal("Cosmos3Edge", sizes, seed, "cosmos3_edge_vision", "cosmos3_edge_text")


CASES = (Case("pictures", partial(cosmos3_edge, 1)),)
