"""Special tokens and settings of generation in the header of a GGUF file, as keys of config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_GGML = "tokenizer.ggml."
_BOS, _PAD = "bos_token_id", "padding_token_id"
# Tokens that end an answer: of a text, of a turn, of a message.
_STOP = ("eos_token_id", "eot_token_id", "eom_token_id")
_SAMPLING = "general.sampling."
# Settings under their names in generation_config.json.
_SETTINGS = {
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "temp": "temperature",
    "penalty_repeat": "repetition_penalty",
}


def token_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of special tokens, and settings of generation with sampling on unless its temperature is 0."""
    config: dict[str, Any] = {}
    for key, source in (("bos_token_id", _BOS), ("pad_token_id", _PAD)):
        if f"{_GGML}{source}" in settings:
            config[key] = settings[f"{_GGML}{source}"]
    stop = [settings[f"{_GGML}{name}"] for name in _STOP if f"{_GGML}{name}" in settings]
    if stop:
        config["eos_token_id"] = stop[0] if len(stop) == 1 else list(dict.fromkeys(stop))
    sampling = {
        key: shortest(settings[f"{_SAMPLING}{name}"])
        for name, key in _SETTINGS.items()
        if f"{_SAMPLING}{name}" in settings
    }
    if sampling:
        sampling["do_sample"] = sampling.get("temperature") != 0
    return config | sampling


def shortest(value: Any) -> Any:
    """Return a float32 as the shortest decimal that rounds to it, as config.json has it; other values unchanged."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
