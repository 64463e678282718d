"""Settings of a LoRA adapter: adapter_config.json as PEFT writes it, checked for everything that changes the merge."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from archc.archspec import read_config
from archc.compiler.errors import BuildError

Value = TypeVar("Value")

CONFIG = "adapter_config.json"
# Initializations that leave the base weights unchanged; others subtract the initial B·A from them.
_INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
# Variants whose forward pass is not W + s·B·A, with the name that a message shows.
_VARIANTS = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "layer replication",
    "target_parameters": "LoRA of fused expert parameters",
    "trainable_token_indices": "trainable tokens",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
    "kasa_config": "KaSA",
}


@dataclass(frozen=True)
class AdapterConfig:
    """The part of adapter_config.json that determines the merge."""

    rank: int
    alpha: float
    rank_stabilized: bool
    transposed: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's matrices A [rank, in] and B [out, rank]."""
        return _first_match(self.rank_pattern, module, self.rank)

    def scale_of(self, module: str) -> float:
        """Return the factor on B·A: alpha / rank (Hu et al. 2021), or alpha / √rank (rsLoRA, Kalajdzievski 2023)."""
        alpha, rank = _first_match(self.alpha_pattern, module, self.alpha), self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Return the settings of an adapter folder.

    Raises BuildError for a missing or damaged file, and for a variant of LoRA that cannot be merged.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise BuildError(f"{folder}: {CONFIG} not found; give the folder of a LoRA adapter that PEFT wrote")
    values = read_config(path)
    kind = values.get("peft_type", "LORA")
    if kind != "LORA":
        raise BuildError(f"{path}: peft_type {kind!r:.40} is not supported; use an adapter of type LORA")
    for key, name in _VARIANTS.items():
        if values.get(key):
            raise BuildError(
                f"{path}: {key}: {name} is not supported; merge the adapter with PEFT and build the result"
            )
    initialization = values.get("init_lora_weights", True)
    if initialization not in _INITIALIZATIONS:
        raise BuildError(
            f"{path}: init_lora_weights {initialization!r:.40} changes the base weights, which is not supported; "
            "save the adapter with path_initial_model_for_weight_conversion"
        )
    return AdapterConfig(
        rank=_rank(path, "r", values.get("r", 8)),
        alpha=_number(path, "lora_alpha", values.get("lora_alpha", 8)),
        rank_stabilized=_flag(path, "use_rslora", values),
        transposed=_flag(path, "fan_in_fan_out", values),
        rank_pattern={key: _rank(path, "rank_pattern", value) for key, value in _pattern(path, "rank_pattern", values)},
        alpha_pattern={
            key: _number(path, "alpha_pattern", value) for key, value in _pattern(path, "alpha_pattern", values)
        },
    )


def _first_match(patterns: Mapping[str, Value], module: str, default: Value) -> Value:
    """Return the value of the first pattern that is a module's name, or its end after a dot."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return default


def _pattern(path: Path, key: str, values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the entries of rank_pattern or alpha_pattern; their keys are regular expressions of module names."""
    patterns = values.get(key) or {}
    if not isinstance(patterns, dict):
        raise BuildError(f"{path}: {key}: expected an object, got {patterns!r:.40}; correct it")
    for pattern in patterns:
        if len(pattern) > _MOST_PATTERN or _NESTED.search(pattern):
            raise BuildError(f"{path}: {key}: the pattern {pattern!r:.60} is not supported; use plain module names")
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            raise BuildError(f"{path}: {key}: {pattern!r:.60} is not a regular expression; correct it") from None
    return list(patterns.items())


# A repeated group that contains a repetition can take exponential time on a name that does not match.
_MOST_PATTERN = 500
_NESTED = re.compile(r"\)[*+{]")


def _rank(path: Path, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BuildError(f"{path}: {key}: expected a rank of at least 1, got {value!r:.40}; correct it")
    return value


def _number(path: Path, key: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _LARGEST:
        raise BuildError(f"{path}: {key}: expected a number, got {value!r:.40}; correct it")
    return float(value)


_LARGEST = 1e30  # larger factors overflow float32 in a product


def _flag(path: Path, key: str, values: Mapping[str, Any]) -> bool:
    value = values.get(key) or False
    if not isinstance(value, bool):
        raise BuildError(f"{path}: {key}: expected true or false, got {value!r:.40}; correct it")
    return value
