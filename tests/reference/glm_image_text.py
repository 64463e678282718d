"""The text model of GLM-Image: transformers' GlmImageForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.glm4v_text import SIZES
from tests.reference.multimodal import InputsAlone, make_multimodal


def glm_image(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny GLM-Image, with logits for a part of its tokens."""
    sizes = SIZES | {"vision_vocab_size": 70, "pad_token_id": 0} | changes
    more = {"vq_config": {"embed_dim": 8, "num_embeddings": 6, "latent_channels": 16}}
    return make_multimodal("GlmImage", sizes, seed, "glm_image_vision", "glm_image_text", more, kind=InputsAlone)


CASES = (Case("pictures", partial(glm_image, 1)), Case("unbiased", partial(glm_image, 2, attention_bias=False)))
