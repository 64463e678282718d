"""SmolLM3: transformers' SmolLM3ForCausalLM, its layers without positions by list and by interval."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import SmolLM3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.spelling import older_rope

SIZES: dict[str, Any] = {
    "vocab_size": 151,
    "hidden_size": 60,
    "intermediate_size": 92,
    "num_hidden_layers": 5,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "rope_parameters": {"rope_type": "default", "rope_theta": 300.0},
    "pad_token_id": 0,
}
WINDOW: dict[str, Any] = {"use_sliding_window": True, "sliding_window": 4}


def without_lists(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves both lists to the interval."""
    return older_rope({key: value for key, value in config.items() if key not in ("layer_types", "no_rope_layers")})


def smollm3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("SmolLM3ForCausalLM", SmolLM3Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case("by-list", partial(smollm3, 1)),
    Case("by-interval", partial(smollm3, 2, without_lists, tie_word_embeddings=False)),
    Case("mixed", partial(smollm3, 3, no_rope_layers=[0, 1, 1, 0, 1])),
    Case("window", partial(smollm3, 4, **WINDOW)),
    Case("window-older-file", partial(smollm3, 5, without_lists, **WINDOW)),
    Case(
        "window-by-list",
        partial(smollm3, 6, layer_types=["sliding_attention", "full_attention"] * 2 + ["sliding_attention"], **WINDOW),
    ),
    Case("biased", partial(smollm3, 7, attention_bias=True, mlp_bias=True)),
)
