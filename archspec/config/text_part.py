"""The text model inside the config of a multimodal model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# In transformers, InternVL, DeepSeek-VL and Qwen-Omni.
_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")

# Settings of the whole file that concern its text model, which may lack them.
_OF_THE_FILE = ("tie_word_embeddings", "quantization_config", "compression_config", "bos_token_id", "eos_token_id")
# A key of models that compare texts with pictures, whose projections belong to the whole file.
_CONTRASTIVE, _PROJECTION = "logit_scale_init_value", "projection_dim"
_OTHER_PARTS = ("vision_config", "audio_config")  # next to the keys of the text model, in files without nesting
_MAX_DEPTH = 4


def is_multimodal(config: Mapping[str, Any]) -> bool:
    """Return whether a config has parts other than a text model's."""
    return bool(part_keys(config)) or any(config.get(key) for key in _OTHER_PARTS)


def part_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that lead to the config of the text model, outermost first; none for a text model's config."""
    keys: list[str] = []
    while len(keys) < _MAX_DEPTH:
        key = next((key for key in _PARTS if isinstance(config.get(key), Mapping) and config[key]), None)
        if key is None:
            break
        keys.append(key)
        config = config[key]
    return tuple(keys)


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of the text model inside a multimodal config, any other config unchanged.

    Keys of the other parts are left out. `tie_word_embeddings` is the file's, because the head belongs to the whole
    model; the storage of the weights and the special tokens are the file's where the text model has none. A text model
    without a `model_type` has that of the file.
    """
    for key in part_keys(config):
        inner = dict(config[key])
        for name in _OF_THE_FILE:
            if config.get(name) is not None and (name == "tie_word_embeddings" or inner.get(name) is None):
                inner[name] = config[name]
        if _CONTRASTIVE in config and config.get(_PROJECTION) is not None:
            inner[_PROJECTION] = config[_PROJECTION]
        config = {"model_type": config.get("model_type"), **inner}
    return {key: value for key, value in config.items() if key not in _OTHER_PARTS}
