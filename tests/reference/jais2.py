"""Jais 2: transformers' Jais2ForCausalLM."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Jais2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import SIZES as LLAMA
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"} | {"layer_norm_eps": 0.05}


def jais2(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Jais2ForCausalLM", Jais2Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("biased", partial(jais2, 1)),
    Case("unbiased-older-file", partial(jais2, 2, older_rope, attention_bias=False, mlp_bias=False, hidden_act="silu")),
)
