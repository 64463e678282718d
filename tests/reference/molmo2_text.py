"""The text model of Molmo 2: transformers' Molmo2ForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.multimodal import InputsAlone, make_multimodal
from tests.reference.qwen3 import SIZES, YARN

ADAPTER: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 12,
    "text_hidden_size": 60,
    "vision_feature_layer": [0],
}


def molmo2(seed: int, **changes: Any) -> FromTransformers:
    """The text model of a tiny Molmo 2, with tokens that are inputs alone."""
    sizes = SIZES | {"additional_vocab_size": 9} | changes
    more = {"adapter_config": ADAPTER}
    return make_multimodal("Molmo2", sizes, seed, "molmo2_vision", "molmo2_text", more, kind=InputsAlone)


CASES = (
    Case("pictures", partial(molmo2, 1, attention_bias=True)),
    Case("olmo", partial(molmo2, 2, qk_norm_type="olmo", norm_after=True)),
    Case("scaled-layers", partial(molmo2, 3, rope_parameters=YARN, rope_scaling_layers=[1]), length=41),
)
