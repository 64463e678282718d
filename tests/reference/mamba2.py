"""Mamba-2, by transformers' class."""

from __future__ import annotations

from typing import Any

from transformers import Mamba2Config

from archc.proof.case import Case
from archc.proof.from_transformers import FromTransformers, make

GAINS = {"A_log": 4.0, "dt_bias": 4.0, "conv1d.weight": 2.0, "D": 4.0}


def mamba2(seed: int, **more: Any) -> FromTransformers:
    """Random weights: decays of every strength, steps from none to large."""
    config = Mamba2Config(
        **{
            "vocab_size": 97,
            "hidden_size": 24,
            "num_hidden_layers": 3,
            "layer_norm_epsilon": 1e-2,
            "num_heads": 6,
            "head_dim": 8,
            "n_groups": 3,
            "state_size": 5,
            "chunk_size": 4,
            **more,
        }
    )
    return make("Mamba2ForCausalLM", config, seed, gains=GAINS, cached=False, attention="eager")


CASES = (
    Case("groups", lambda: mamba2(1), length=37),
    Case(
        "biases-tied-limits",
        lambda: mamba2(
            2,
            n_groups=1,
            use_bias=True,
            use_conv_bias=False,
            conv_kernel=3,
            expand=1,
            head_dim=4,
            tie_word_embeddings=True,
            num_hidden_layers=2,
            time_step_limit=[0.4, 1.5],
        ),
    ),
)
