"""Independent implementations of the models of the catalog, with the sizes of a config.json."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, LlamaConfig

from archc.proof.case import Reference
from archc.proof.from_transformers import FromTransformers, make
from tests.checkpoints.published import Config
from tests.compiler.weights.checkpoint.test_params import write as write_params
from tests.reference.by_hand import ByHand

Make = Callable[[Config], Reference]


def hub(class_name: str, **options: Any) -> Make:
    """Return the maker of a transformers class, from the published keys alone, in float32."""

    def made(config: Config) -> Reference:
        return make(class_name, AutoConfig.for_model(config["model_type"], **_keys(config)), 1, **options)

    return made


def llama(keys: Mapping[str, str] | None = None, fixed: Mapping[str, Any] | None = None, **options: Any) -> Make:
    """Return the maker of transformers' LlamaForCausalLM under other keys: `keys` are the file's, by Llama's."""

    def made(config: Config) -> Reference:
        named = {name: config[key] for name, key in (keys or {}).items()}
        return make("LlamaForCausalLM", LlamaConfig(**_keys(config) | named | dict(fixed or {})), 1, **options)

    return made


def _keys(config: Config) -> Config:
    """Return a copy of the keys of a model's class, which completes rope_scaling in place."""
    outside = ("model_type", "auto_map", "architectures", "torch_dtype")
    return copy.deepcopy({key: value for key, value in config.items() if key not in outside})


def by_hand(kind: Callable[..., ByHand], **options: Any) -> Make:
    """Return the maker of an implementation of our own, whose settings the config then has."""

    def made(config: Config) -> Reference:
        reference = kind(1, vocab=config.get("padded_vocab_size", config.get("vocab_size")), **options)
        identity = ("model_type", "architectures")
        sizes = {key: value for key, value in reference.config.items() if key in config and key not in identity}
        config.update({key: value for key, value in sizes.items() if not key.endswith("_token_id")})
        return reference

    return made


def own_form(folder: Path, reference: Reference, kind: str, dtype: torch.dtype) -> None:
    """Write consolidated weights and params.json, as Meta (`llama`) or Mistral (`mistral`) does."""
    assert isinstance(reference, FromTransformers)
    model = copy.deepcopy(reference.model).to(dtype)
    write_params(folder, model, kind, vocab_size=model.config.vocab_size)
