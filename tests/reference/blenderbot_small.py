"""BlenderBot Small: transformers' BlenderbotSmallForConditionalGeneration."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import BlenderbotSmallConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make
from tests.reference.answering import Answering, with_logits_bias
from tests.reference.bart import SIZES, SMALL


def blenderbot_small(seed: int, **changes: Any) -> FromTransformers:
    """A tiny BlenderBot Small with the given differences from SIZES."""
    config = BlenderbotSmallConfig(**SIZES | changes)
    made = make("BlenderbotSmallForConditionalGeneration", config, seed, kind=Answering, gains=SMALL)
    return with_logits_bias(made, seed, 0.1)


Answer = partial(Case, topology="encoder-decoder", lead=(5,))
CASES = (
    Answer("base", partial(blenderbot_small, 1)),
    Answer("scaled", partial(blenderbot_small, 2, scale_embedding=True, activation_function="relu")),
)
