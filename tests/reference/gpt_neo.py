"""GPT-Neo: transformers' GPTNeoForCausalLM, its local layers by list and by pattern."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GPTNeoConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "num_layers": 3,
    "num_heads": 6,
    "max_position_embeddings": 48,
    "layer_norm_epsilon": 1e-1,
    "window_size": 4,
    "attention_types": [[["global", "local"], 1], [["local"], 1]],
}
ONE_PATTERN: dict[str, Any] = {"attention_types": [[["local", "global"], 2]], "num_layers": 4}


def by_pattern(config: dict[str, Any]) -> dict[str, Any]:
    """A file that states the pattern only, as a user of the class writes it."""
    return {key: value for key, value in config.items() if key != "attention_layers"}


def gpt_neo(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("GPTNeoForCausalLM", GPTNeoConfig(**SIZES | changes), seed, respell=respell, attention="eager")


CASES = (
    Case("by-list", partial(gpt_neo, 1)),
    Case("by-pattern", partial(gpt_neo, 2, by_pattern, intermediate_size=92, tie_word_embeddings=False, **ONE_PATTERN)),
)
