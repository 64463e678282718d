"""`archc verify` where the rotation of a token depends on the length of its call: LongRoPE and dynamic NTK."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from archc.proof.from_transformers import FromTransformers
from archc.verify import choose
from tests.archc.conftest import Archc
from tests.reference.llama import llama
from tests.reference.phi3 import PLAIN, phi3

IDS = ("--ids", "9,33,4,71,20,8", "--new-tokens", 24)


def longrope() -> FromTransformers:
    """Return a tiny Phi-3 that was trained on 16 tokens."""
    factors = {"long_factor": [1.3, 3.0, 4.7, 6.4, 8.1], "short_factor": [1.1, 1.4, 1.7, 2.0, 2.3]}
    return phi3(4, rope_parameters={**PLAIN, "rope_type": "longrope", **factors})


def dynamic() -> FromTransformers:
    """Return a tiny LLaMA with dynamic NTK scaling past 16 tokens."""
    rope = {"rope_type": "dynamic", "factor": 3.0, "original_max_position_embeddings": 16}
    return llama(7, rope, max_position_embeddings=16)


@pytest.mark.parametrize("make", [longrope, dynamic], ids=["longrope", "dynamic"])
def test_a_right_plan_is_right_past_the_trained_length(archc: Archc, tmp_path: Path, make: Any) -> None:
    make().save(tmp_path / "checkpoint")
    assert archc("build", tmp_path / "checkpoint", "-o", tmp_path / "p").code == 0
    report = archc("verify", tmp_path / "p", "--weights", tmp_path / "checkpoint", *IDS, "--json").json
    assert report["ok"]
    assert report["divergences"] == []
    assert "in float32" in report["reference"]
    assert report["reference"].startswith("transformers")


def test_without_transformers_the_report_says_so(archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dynamic().save(tmp_path / "checkpoint")
    assert archc("build", tmp_path / "checkpoint", "-o", tmp_path / "p").code == 0
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name == "transformers" else find_spec(name))
    monkeypatch.setattr(choose, "find_class", lambda config: None)
    result = archc("verify", tmp_path / "p", "--weights", tmp_path / "checkpoint", *IDS)
    assert result.code == 0, result.out
    assert "transformers is not installed, so archc is compared with its own torch graph" in result.err
    assert "pip install transformers" in result.err
    assert "greedy tokens are not compared" in result.err
    assert "greedy:" not in result.out
