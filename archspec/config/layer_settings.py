"""Settings of single layers in config.json, completed with those of all layers.

transformers writes `per_layer_config`: a mapping from the index of a layer, as text that may begin with zeros, to the
keys that differ in it. Specs read a list with one mapping per layer, in which each key that differs in any layer has
its value, unless the config has none for all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archc.archspec.errors import ConfigError, Problem, format_value

KEY = "per_layer_config"
_MOST_LAYERS = 10**4


def with_layer_settings(config: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the config with `per_layer_config` as a list. Raises ConfigError if it names layers that do not exist."""
    settings = config.get(KEY)
    if not isinstance(settings, Mapping) or not settings:
        return config
    count = config.get("num_hidden_layers")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= _MOST_LAYERS:
        message = f"num_hidden_layers is {format_value(count)}, which is no number of layers"
        raise ConfigError([Problem(file, 0, 0, KEY, message)])
    problems = [
        Problem(file, 0, 0, f"{KEY}.{layer}", f"expected the settings of one of {count} layers")
        for layer, changes in settings.items()
        if not (layer.isdecimal() and int(layer) < count and isinstance(changes, Mapping))
    ]
    if problems:
        raise ConfigError(problems)
    common = {key: config[key] for changes in settings.values() for key in changes if key in config}
    numbered = {int(layer): changes for layer, changes in settings.items()}
    return config | {KEY: [{**common, **numbered.get(layer, {})} for layer in range(count)]}
