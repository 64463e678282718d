"""Phi-3: transformers' Phi3ForCausalLM, with windows, partial rotation, and longrope around the trained length."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Phi3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

PLAIN: dict[str, Any] = {"rope_type": "default", "rope_theta": 300.0}
SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "pad_token_id": 0,
    "original_max_position_embeddings": 16,
    "rope_parameters": PLAIN,
}


def as_su(config: dict[str, Any]) -> dict[str, Any]:
    """The name that the first files have for longrope, and the trained length next to it alone."""
    config = older_rope(config)
    scaling = {key: config["rope_scaling"][key] for key in ("long_factor", "short_factor")}
    return config | {"rope_scaling": {"type": "su", **scaling}}


def long(name: str, seed: int, respell: Respell | None = None, *, length: int, **rope: Any) -> Case:
    """Prompts of a length around the trained one, 16, where cached decoding changes its rotation."""
    pairs = int(10 * rope.get("partial_rotary_factor", 1.0)) // 2
    factors = {
        "long_factor": [1.3 + 1.7 * pair for pair in range(pairs)],
        "short_factor": [1.1 + 0.3 * pair for pair in range(pairs)],
    }
    parameters = {**PLAIN, "rope_type": "longrope", **factors, **rope}
    make_one = partial(phi3, seed, respell, rope_parameters=parameters)
    return Case(name, make_one, length=length, depends_on_calls=True)


def phi3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Phi3ForCausalLM", Phi3Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("window", partial(phi3, 1, sliding_window=5)),
    Case("tied-older-file", partial(phi3, 2, older_rope, tie_word_embeddings=True)),
    Case("partial", partial(phi3, 3, rope_parameters={**PLAIN, "partial_rotary_factor": 0.6})),
    long("longrope-short", 4, length=14),
    long("longrope-long", 5, length=33),
    long("longrope-partial", 6, length=33, partial_rotary_factor=0.8),
    long("longrope-factor", 7, length=33, attention_factor=0.7),
    long("su", 8, as_su, length=33),
)
