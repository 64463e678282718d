"""Gemma: transformers' GemmaForCausalLM, with one key/value head and with several."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GemmaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 1,
    "head_dim": 18,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 150.0},
}


def gemma(seed: int, spelled: str | None = None, **changes: Any) -> FromTransformers:
    """A tiny Gemma; `spelled` is the file's hidden_act if it differs: "gelu" stands for the tanh approximation."""

    def respell(config: dict[str, Any]) -> dict[str, Any]:
        return config | ({"hidden_act": spelled, "hidden_activation": None} if spelled is not None else {})

    return make("GemmaForCausalLM", GemmaConfig(**SIZES | changes), seed, unit_offset=True, respell=respell)


CASES = (
    Case("one-key-head", partial(gemma, 1)),
    Case("every-key-head", partial(gemma, 2, num_key_value_heads=6)),
    Case("older-file", partial(gemma, 3, spelled="gelu", num_key_value_heads=2)),
    Case("other-activation", partial(gemma, 4, hidden_act="relu")),
)
