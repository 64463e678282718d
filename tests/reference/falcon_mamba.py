"""Falcon Mamba, by transformers' class."""

from __future__ import annotations

from typing import Any

from transformers import FalconMambaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make


def falcon_mamba(seed: int, **more: Any) -> FromTransformers:
    """Random weights: decays of every strength, steps from none to large."""
    sizes: dict[str, Any] = {"vocab_size": 97, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 5}
    config = FalconMambaConfig(**sizes, layer_norm_epsilon=1e-2, mixer_rms_eps=1e-1, **more)
    gains = {"A_log": 5.0, "dt_proj.bias": 4.0, "conv1d.weight": 2.0}
    return make("FalconMambaForCausalLM", config, seed, gains=gains, cached=False, attention="eager")


CASES = (Case("untied", lambda: falcon_mamba(1, tie_word_embeddings=False), length=19),)
