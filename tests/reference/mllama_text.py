"""The text model of Llama 3.2 Vision: transformers' MllamaForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.llama import SIZES as LLAMA
from tests.reference.multimodal import InputsAlone, make_multimodal

SIZES: dict[str, Any] = {key: value for key, value in LLAMA.items() if key != "head_dim"} | {
    "num_hidden_layers": 4,
    "cross_attention_layers": [1, 2],
    "pad_token_id": 0,
}


def mllama(seed: int) -> FromTransformers:
    """The text model of a tiny Llama 3.2 Vision, whose cross-attention layers have no effect without a picture."""
    crossing = ("layers.1.", "layers.2.")
    return make_multimodal(
        "Mllama", SIZES, seed, "mllama_vision_model", "mllama_text_model", outside=crossing, kind=InputsAlone
    )


CASES = (Case("pictures", partial(mllama, 1)),)
