"""SeamlessM4T 1 and 2: transformers' classes of text to text."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import PreTrainedConfig, SeamlessM4TConfig, SeamlessM4Tv2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering
from tests.reference.bart import SIZES as BART_SIZES
from tests.reference.m2m_100 import every_position
from tests.reference.pegasus import gains

SIZES: dict[str, Any] = {key: value for key, value in BART_SIZES.items() if key != "d_model"} | {"hidden_size": 36}


def seamless(class_name: str, config: PreTrainedConfig, seed: int) -> FromTransformers:
    """A tiny model; its table shows the eps of norms as PEGASUS' does."""
    scale = config.hidden_size**0.5 if config.scale_embedding else 1.0
    by_end = {**gains(scale), "ffn.fc2.weight": 0.05, "ffn.fc2.bias": 0.05, "text_decoder.layer_norm.weight": 5 * scale}
    made = make(class_name, config, seed, kind=Answering, gains=by_end)
    for stack in (made.model.text_encoder, made.model.text_decoder):
        stack.embed_positions.create_position_ids_from_input_ids = every_position
    first = made.model.text_decoder.embed_positions.weights[config.pad_token_id + 1]
    made.model.shared.weight.data -= first / scale
    return made


V2 = partial(SeamlessM4Tv2Config, **SIZES | {"scale_embedding": False, "activation_function": "gelu"})
Answer = partial(Case, topology="encoder-decoder", lead=(5,), tokens=24)
CASES = (
    Answer("v1", lambda: seamless("SeamlessM4TForTextToText", SeamlessM4TConfig(**SIZES), 1)),
    Answer("v2", lambda: seamless("SeamlessM4Tv2ForTextToText", V2(), 2)),
)
