"""Specs, configs and types that several tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from archc.archspec import ConfigError, Spec, detect_spec

HERE = Path(__file__).parent
DATA = HERE / "data"
BASE = HERE / "wrong" / "sound" / "base.yaml"  # a small valid spec, which many tests extend

Load = Callable[..., Spec]
Write = Callable[..., Path]

TINY = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

LATENT = "attention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none}\n"


def matching_specs(config: dict[str, object]) -> list[str]:
    """The spec that is detected for a config, or the candidates if detection is ambiguous."""
    try:
        return [detect_spec(config)]
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.hint == "pass the name of one of them"
        return problem.message.partition(": ")[2].split(", ")
