"""Granite with windows: transformers' GraniteSWAForCausalLM in its eager attention, the one with sinks."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import GraniteSWAConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.cwm import older_file
from tests.reference.granite import SIZES as GRANITE

SIZES: dict[str, Any] = GRANITE | {"num_hidden_layers": 5, "sliding_window": 4, "tie_word_embeddings": False}
LISTS: dict[str, Any] = {
    "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention", "sliding_attention"],
    "layer_rope_theta": [90.0, 0, 300.0, 0, 90.0],
}


def hub_file(config: dict[str, Any]) -> dict[str, Any]:
    """A file that leaves both lists to the class."""
    return older_file({key: value for key, value in config.items() if key != "layer_rope_theta"})


def granite_swa(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("GraniteSWAForCausalLM", GraniteSWAConfig(**SIZES | changes), seed, respell=respell, attention="eager")


CASES = (
    Case("by-list", partial(granite_swa, 1, **LISTS)),
    Case("hub-file-biased", partial(granite_swa, 2, hub_file, attention_bias=True, mlp_bias=True)),
)
