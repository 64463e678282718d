"""The text model of Muse Glimmer: transformers' MuseGlimmerForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.multimodal import make_multimodal

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 60,
    "intermediate_size": 44,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 14,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.1,
    "post_norm_eps": 0.02,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "sliding_window": 5,
    "qk_scale_factor": 2.3,
    "output_multiplier": 0.7,
    "final_logit_softcapping": 8.0,
}


def muse_glimmer(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny Muse Glimmer."""
    more = {"out_hidden_size": 60, "projector_hidden_size": 12}
    return make_multimodal("MuseGlimmer", SIZES | changes, seed, "muse_glimmer_vision", "muse_glimmer_text", more)


TYPES = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
CASES = (
    Case("pictures", partial(muse_glimmer, 1)),
    Case(
        "by-layer",
        partial(muse_glimmer, 2, attention_bias=True, layer_types=TYPES, layer_rope_theta=[300.0, 300.0, 0, 0]),
    ),
)
