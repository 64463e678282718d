from __future__ import annotations

from typing import Any

import pytest

from archc.archspec import load_spec
from archc.archspec.binding.longest import NO_LIMIT, longest_sequence, source_length
from tests.archspec.samples import TINY

LONG = {**TINY, "max_position_embeddings": 2048}
T5 = {"vocab_size": 100, "d_model": 64, "d_ff": 96, "num_layers": 2, "num_heads": 4}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "rope": ("llama", LONG, 2048),
    "linear": ("llama", {**LONG, "rope_scaling": {"type": "linear", "factor": 4.0}}, 8192),
    "yarn": ("llama", {**LONG, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 8192),
    "dynamic": ("llama", {**LONG, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, NO_LIMIT),
    "relative": ("t5", T5, NO_LIMIT),
    "learned": ("gpt2", {"vocab_size": 100, "n_embd": 64, "n_layer": 2, "n_head": 4}, 1024),
}


@pytest.mark.parametrize(("family", "config", "longest"), CASES.values(), ids=CASES)
def test_the_longest_sequence_of_positions(family: str, config: dict[str, Any], longest: int) -> None:
    assert longest_sequence(load_spec(family).bind(config)) == longest


BART = {"vocab_size": 60, "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48}


@pytest.mark.parametrize(
    ("family", "config", "length", "source"),
    [
        ("t5", T5, 100, 512),
        ("t5", T5, 2000, 2000),
        ("bart", {**BART, "max_position_embeddings": 40}, 20, 40),
        ("marian", {**BART, "max_position_embeddings": 40}, 40, 40),
    ],
    ids=["shorter plan", "longer plan", "table", "sinusoids"],
)
def test_a_source_is_as_long_as_the_plan_where_its_positions_allow(
    family: str, config: dict[str, Any], length: int, source: int
) -> None:
    assert source_length(load_spec(family).bind(config), length) == source
