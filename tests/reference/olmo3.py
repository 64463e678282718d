"""OLMo 3: transformers' Olmo3ForCausalLM, its layers by list and by pattern, its rope in either spelling."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Olmo3Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, Respell, make
from tests.reference.llama import YARN
from tests.reference.olmo2 import SIZES as OLMO2

SIZES: dict[str, Any] = OLMO2 | {
    "num_hidden_layers": 5,
    "sliding_window": 4,
    "rope_parameters": {
        "full_attention": YARN | {"rope_theta": 300.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 90.0},
    },
}
ONE_BASE: dict[str, Any] = SIZES["rope_parameters"] | {
    "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}
}


def older_file(config: dict[str, Any]) -> dict[str, Any]:
    """The layers by the pattern, one base, and a scaling that only full attention reads."""
    rope = dict(config["rope_parameters"]["full_attention"])
    config = {key: value for key, value in config.items() if key not in ("rope_parameters", "layer_types")}
    return config | {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}


def olmo3(seed: int, respell: Respell | None = None, **changes: Any) -> FromTransformers:
    """A tiny model with the given differences from SIZES."""
    return make("Olmo3ForCausalLM", Olmo3Config(**SIZES | changes), seed, respell=respell)


CASES = (
    Case(
        "by-list",
        partial(olmo3, 1, layer_types=["full_attention", "sliding_attention"] * 2 + ["full_attention"]),
        length=41,
    ),
    Case("older-file", partial(olmo3, 2, older_file, rope_parameters=ONE_BASE, num_key_value_heads=6), length=41),
)
