"""Mamba, by transformers' class."""

from __future__ import annotations

from typing import Any

from transformers import MambaConfig

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make


def mamba(seed: int, **more: Any) -> FromTransformers:
    """Random weights: decays of every strength, steps from none to large."""
    config = MambaConfig(vocab_size=97, hidden_size=24, **{"num_hidden_layers": 3, "layer_norm_epsilon": 1e-2, **more})
    gains = {"A_log": 5.0, "dt_proj.bias": 4.0, "conv1d.weight": 2.0}
    return make("MambaForCausalLM", config, seed, gains=gains, cached=False, attention="eager")


CASES = (
    Case("tied", lambda: mamba(1, state_size=5), length=19),
    Case(
        "biases-untied",
        lambda: mamba(
            2,
            state_size=4,
            use_bias=True,
            use_conv_bias=False,
            conv_kernel=3,
            expand=3,
            time_step_rank=7,
            tie_word_embeddings=False,
            num_hidden_layers=2,
        ),
    ),
)
