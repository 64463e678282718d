"""The text model of Cohere Compass: transformers' CohereCompassForConditionalGeneration."""

from __future__ import annotations

from functools import partial

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.command_r import SIZES
from tests.reference.multimodal import make_multimodal


def cohere_compass(seed: int) -> FromTransformers:
    """The text model of a tiny Cohere Compass, with a rotary embedding in the layers with windows alone."""
    rope = {"rope_type": "default", "rope_theta": 300.0, "mrope_section": [2, 2, 1], "mrope_interleaved": True}
    sizes = SIZES | {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "sliding_window": 5,
        "rope_parameters": {"sliding_attention": rope, "full_attention": None},
        "attention_bias": True,
        "tie_word_embeddings": False,
    }
    return make_multimodal("CohereCompass", sizes, seed, "cohere_compass_vision", "cohere_compass_text")


CASES = (Case("pictures", partial(cohere_compass, 1)),)
