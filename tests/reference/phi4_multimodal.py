"""Phi-4 multimodal without its other parts: transformers' Phi4MultimodalForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Phi4MultimodalConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.phi3 import PLAIN, SIZES

VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "crop_size": 8,
    "patch_size": 4,
}
AUDIO: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 12,
    "num_blocks": 1,
    "num_attention_heads": 2,
    "ext_pw_out_channel": 16,
    "depthwise_separable_out_channel": 16,
    "nemo_conv_channels": 8,
}


def phi4_multimodal(seed: int, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from the sizes of a tiny Phi-3."""
    config = Phi4MultimodalConfig(vision_config=VISION, audio_config=AUDIO, **SIZES | changes)
    return make("Phi4MultimodalForCausalLM", config, seed, outside=("embed_tokens_extend",))


ROPE: dict[str, Any] = {
    **PLAIN,
    "rope_type": "longrope",
    "partial_rotary_factor": 0.8,
    "long_factor": [1.3, 3.0, 4.7, 6.4],
    "short_factor": [1.1, 1.4, 1.7, 2.0],
}
CASES = (
    Case("window", partial(phi4_multimodal, 1, sliding_window=5, tie_word_embeddings=True)),
    Case("longrope", partial(phi4_multimodal, 2, rope_parameters=ROPE), length=33, depends_on_calls=True),
)
