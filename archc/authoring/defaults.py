"""Defaults of the config class of transformers, where they differ from those of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archc.archspec import ConfigError, Problem, Spec
from archc.archspec.config.rope_settings import canonical_config
from archc.archspec.config.values import evaluate_names


def class_defaults(model_type: str) -> Mapping[str, Any] | None:
    """Return the defaults of a model type's config class in canonical spelling, or None without transformers or it."""
    try:
        from transformers import CONFIG_MAPPING
    except ImportError:
        return None
    if model_type not in CONFIG_MAPPING:
        return None
    try:
        return canonical_config(CONFIG_MAPPING[model_type]().to_dict(), model_type)
    except ConfigError:
        return None  # rotary settings that archc does not support, which the draft reports for the config itself


def differing_defaults(spec: Spec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain defaults of the class for names with a default in the spec, where the two differ."""
    result: dict[str, Any] = {}
    for name, entry in spec.names.config.items():
        own = [defaults[key] for key in entry.keys if isinstance(defaults.get(key), bool | int | float | str)]
        if entry.required or name not in spec.read or not own:
            continue
        rest = {key: value for key, value in defaults.items() if key not in entry.keys}
        problems: list[Problem] = []
        value = evaluate_names(spec.names, rest, "", {}, problems).values.get(name)
        if type(value) is not type(own[0]) or value != own[0]:
            result[name] = own[0]
    return result
