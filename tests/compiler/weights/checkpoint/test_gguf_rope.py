"""Rotary scalings of GGUF files against transformers' models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import read_checkpoint_config
from archc.runtime.engine import load
from tests.compiler.weights.checkpoint.gguf_architectures import ARCHITECTURES
from tests.compiler.weights.checkpoint.gguf_files import write
from tests.compiler.weights.checkpoint.test_gguf import IDS, LLAMA, logits


def rope_factors(theta: float, size: int, scaling: dict[str, Any]) -> torch.Tensor:
    """Return the tensor rope_freqs, as LlamaModel.generate_extra_tensors of llama.cpp computes it."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    factors = []
    for at in range(0, size, 2):
        length = 2 * math.pi * theta ** (at / size)
        smooth = (original / length - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors.append(1 if length < original / high else factor if length > original / low else between)
    return torch.tensor(factors)


def test_divisors_of_rotary_frequencies(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = LLAMA.build(head_dim=64, rope_parameters={**scaling, "rope_theta": 500000.0})
    factors = rope_factors(500000.0, 64, scaling)
    assert len(set(factors.tolist())) > 3
    path = write(tmp_path / "model.gguf", LLAMA, model, tensors={"rope_freqs.weight": factors})
    config = read_checkpoint_config(path)
    assert config is not None
    assert config["rope_scaling"] == scaling
    plan = build(path, out=tmp_path / "engine.plan")
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=2e-4, rtol=0)
    other = write(tmp_path / "other.gguf", LLAMA, model, tensors={"rope_freqs.weight": factors * 1.01})
    with pytest.raises(
        BuildError, match=r"other\.gguf: tensor 'rope_freqs\.weight': the divisors .* safetensors files"
    ):
        build(other, out=tmp_path / "engine.plan")


@pytest.mark.parametrize(("name", "kind"), [("llama", "linear"), ("llama", "yarn"), ("gemma3", "linear")])
def test_scaled_frequencies(name: str, kind: str, tmp_path: Path) -> None:
    architecture = next(each for each in ARCHITECTURES if str(each) == name)
    scaling: dict[str, Any] = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = 32
    rope = (
        scaling
        if name == "llama"
        else {"full_attention": scaling, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    )
    model = architecture.build(rope_parameters=rope)
    path = write(tmp_path / "model.gguf", architecture, model)
    plan = build(path, out=tmp_path / "engine.plan", warn=lambda message: None)
    np.testing.assert_allclose(load(plan).logits(IDS)[0], logits(model), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"factor": 1.0, "type": "linear"}, None, id="no-effect"),
        pytest.param({"factor": 2.0}, {"rope_type": "linear", "factor": 2.0}, id="no-type"),
        pytest.param(
            {"type": "yarn", "factor": 40.0, "yarn_log_multiplier": 0.0707, "original_context_length": 4096},
            {
                "rope_type": "yarn",
                "factor": 40.0,
                "original_max_position_embeddings": 4096,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
            },
            id="deepseek",
        ),
        pytest.param(
            {"type": "yarn", "factor": math.e, "attn_factor": 2.0},
            {"rope_type": "yarn", "factor": 2.7182817, "attention_factor": pytest.approx(2.2)},
            id="attention-factor",
        ),
    ],
)
def test_settings(settings: dict[str, Any], expected: dict[str, Any] | None, tmp_path: Path) -> None:
    keys = {f"llama.rope.scaling.{key}": value for key, value in settings.items()}
    config = read_checkpoint_config(write(tmp_path / "model.gguf", LLAMA, LLAMA.build(), settings=keys))
    assert config is not None
    assert config.get("rope_scaling") == expected


def test_a_factor_that_is_not_supported(tmp_path: Path) -> None:
    keys = {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.yarn_ext_factor": 0.5}
    path = write(tmp_path / "model.gguf", LLAMA, LLAMA.build(), settings=keys)
    with pytest.raises(BuildError, match=r"llama\.rope\.scaling\.yarn_ext_factor: the value 0\.5 is not supported"):
        read_checkpoint_config(path)
