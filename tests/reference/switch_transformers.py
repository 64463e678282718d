"""Switch Transformers: transformers' SwitchTransformersForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import SwitchTransformersConfig
from transformers.modeling_outputs import MoEModelOutput

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers
from tests.reference.answering import Answering
from tests.reference.t5 import SIZES as T5_SIZES
from tests.reference.t5 import START, answering

SIZES: dict[str, Any] = T5_SIZES | {
    "num_layers": 3,
    "num_experts": 5,
    "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 3,
    "dense_act_fn": "silu",
}


class Routed(Answering):
    """The class, whose encoder's output has a field for the routers."""

    encoded = MoEModelOutput


def switch(seed: int, tie: bool = True, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    config = SwitchTransformersConfig(**SIZES | changes)
    return answering("SwitchTransformersForConditionalGeneration", config, seed, tie, Routed)


Answer = partial(Case, topology="encoder-decoder", lead=START)
FULL: dict[str, Any] = {"expert_capacity": 3, "num_experts": 3, "router_bias": True, "dense_act_fn": "relu"}
CASES = (
    Answer("tied", partial(switch, 1)),
    Answer("over-capacity", partial(switch, 2, False, **FULL), depends_on_calls=True),
)
