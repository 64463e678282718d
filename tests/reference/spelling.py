"""Spellings of configs in files of other generations and other families."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Config = dict[str, Any]


def older_rope(config: Config) -> Config:
    """`rope_theta`, `partial_rotary_factor` and `rope_scaling: {type, ...}`, as before transformers 5."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    kind = rope.pop("rope_type")
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            config[key] = rope.pop(key)
    return config | {"rope_scaling": None if kind == "default" else {"type": kind, **rope}}


def named(model_type: str, architecture: str) -> Callable[[Config], Config]:
    """The older spelling, under another family's name."""
    return lambda config: older_rope(config) | {"model_type": model_type, "architectures": [architecture]}
