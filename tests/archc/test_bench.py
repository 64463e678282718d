"""`archc bench`: the structure of its figures, and the limits that they are compared with; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from archc.bench import machine
from archc.bench.costs import Costs
from archc.plan.reader import Plan
from archc.runtime.backends.ort.package import import_onnxruntime
from tests.archc.conftest import Archc

FEW = ("--prompt-tokens", 8, "--new-tokens", 3, "--runs", 2, "--batch", 1, "--batch", 3, "--threads", 1)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the machine with small products and buffers."""
    monkeypatch.setattr(machine, "_SHAPES", ((8, 128, 128),))
    monkeypatch.setattr(machine, "_SECONDS", 0.01)
    monkeypatch.setattr(machine, "_PASS_BYTES", 1 << 20)


def test_figures_of_a_decoder(archc: Archc, qwen: Path) -> None:
    result = archc("bench", qwen, *FEW, "--json").json
    assert [figure["name"] for figure in result["figures"]] == [
        "prefill, 8 tokens",
        "first token, 8 tokens",
        "decode after 8 tokens",
        "batch decode, 1 at a time",
        "batch decode, 3 at a time",
        "load",
        "peak resident memory",
    ]
    for figure in result["figures"]:
        assert 0 < figure["least"] <= figure["value"] <= figure["largest"]
        expected = figure["value"] / figure["limit"]
        assert figure["share"] == pytest.approx(expected if figure["better"] == "higher" else 1 / expected)
    assert result["machine"]["product"] == "float32"
    assert len(result["machine"]["load_before"]) == 3
    # Keys and values of 4 layers: 2 heads of 32 in float32 each.
    assert result["state_bytes_per_token"] == 2560


def test_a_table_for_people(archc: Archc, qwen: Path) -> None:
    result = archc("bench", qwen, *FEW)
    lines = result.out.splitlines()
    assert result.code == 0
    assert "load average" in lines[1]
    assert lines[2].split() == ["median", "least", "largest", "limit", "of", "the", "limit", "limited", "by"]
    assert len(lines) == 3 + 7


def test_figures_of_an_encoder(archc: Archc, bert: Path) -> None:
    result = archc("bench", bert, "--runs", 1, "--batch", 2, "--threads", 1, "--json").json
    names = [figure["name"] for figure in result["figures"]]
    assert names == ["prefill, 40 tokens", "2 texts of 40 tokens", "load", "peak resident memory"]
    error = archc("bench", bert, "--new-tokens", 2)
    assert error.code == 2
    assert "--new-tokens has no effect" in error.errors[0]


def test_lengths_that_do_not_fit(archc: Archc, small: Path) -> None:
    result = archc("bench", small, "--prompt-tokens", 39, "--new-tokens", 3)
    assert result.code == 2
    assert "expected at most 36" in result.errors[0]


@pytest.mark.parametrize("form", machine.FORMS)
def test_the_bytes_of_a_product_are_a_valid_model(form: str) -> None:
    model, x = machine.FORMS[form](4, 128, 256)
    onnx.checker.check_model(onnx.load_model_from_string(model))
    (y,) = import_onnxruntime("cpu").InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    assert y.shape == (4, 256)
    if form == "uint8 × uint8":  # without VNNI, sums of uint8 × int8 saturate
        graph = onnx.load_model_from_string(model).graph
        tensors = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        product = (x.astype(np.int64) - 128) @ (tensors["w"].astype(np.int64) - 128) * 1e-4
        assert np.allclose(y, product, rtol=1e-5, atol=1e-4)


def test_the_least_work_of_a_step(qwen: Path) -> None:
    with Plan(qwen) as plan:
        costs = Costs(plan.manifest)
        weights = sum(tensor.bytes for tensor in plan.manifest.tensors)
        one, four = costs.step(1, 10), costs.step(4, 10)
        assert one.bytes == weights + 10 * 2560
        assert four.bytes == weights + 4 * 10 * 2560
        assert four.operations == 4 * one.operations == 4 * plan.manifest.flops_per_token
        # The head, 1024 x 128, computes the last token of a prompt alone.
        assert costs.prompt(1, 100).operations == 100 * (plan.manifest.flops_per_token - 2 * 1024 * 128)
    assert one.bound(bandwidth=1.0, rate=1e9) == "memory"
    assert one.seconds(bandwidth=1e15, rate=1.0) == one.operations
