"""GPT-J: transformers' GPTJForCausalLM, whose attention has only an eager form."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GPTJConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "n_embd": 60,
    "n_layer": 3,
    "n_head": 6,
    "n_positions": 48,
    "rotary_dim": 6,
    "layer_norm_epsilon": 1e-2,
}


def gptj(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny GPT-J with the given differences from SIZES."""
    return make("GPTJForCausalLM", GPTJConfig(**SIZES | changes), seed, respell=respell, attention="eager")


def older_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Return further keys of the file of 6B."""
    return config | {"rotary": True, "scale_attn_weights": True, "n_ctx": 2048}


CASES = (
    Case("plain", partial(gptj, 1)),
    Case("whole-head", partial(gptj, 2, rotary_dim=10, n_inner=77)),
    Case("older-file", partial(gptj, 3, older_keys, rotary_dim=4)),
    Case("tied", partial(gptj, 4, tie_word_embeddings=True, activation_function="relu")),
)
