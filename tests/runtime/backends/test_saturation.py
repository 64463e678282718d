"""CPUs whose int8 kernels saturate: which they are, and the exact form of integer products that plans get there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.plan.integers import FULL, WITHOUT_VNNI
from archc.plan.reader import PACKED, Plan
from archc.runtime.backends.ort import backend, saturation
from archc.runtime.backends.ort.saturation import packs, saturates, without_vnni
from archc.runtime.engine import load

TINY = Path(__file__).parents[3] / "examples" / "tiny-qwen2"


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "sse4_1 avx2", True),
        ("AMD64", "avx2 avx512f", True),
        ("x86_64", "avx2 avx_vnni", False),
        ("x86_64", "avx512f avx512_vnni", False),
        ("x86_64", "amx_int8", False),
        ("aarch64", "", False),
    ],
)
def test_x86_without_vnni_saturates(machine: str, flags: str, expected: bool, tmp_path: Path) -> None:
    cpus = tmp_path / "cpuinfo"
    cpus.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\n")
    assert saturates(cpus, machine) is expected
    assert packs(cpus) is ("avx2" in flags)


def test_x86_whose_instructions_are_not_listed_may_saturate(tmp_path: Path) -> None:
    assert saturates(tmp_path / "none", "x86_64")
    assert not packs(tmp_path / "none")


def test_both_forms_have_the_same_initializers() -> None:
    assert FULL.keys() == WITHOUT_VNNI.keys()


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plans")
    forms: dict[str, dict[str, str]] = {"float32": {}, "int8": {"quantize": "int8"}, "kv": {"kv": "int8"}}
    return {name: build(TINY, out=folder / f"{name}.plan", **options) for name, options in forms.items()}  # type: ignore[arg-type]


def logits(path: Path) -> NDArray[np.float32]:
    engine = load(path, threads=1)
    try:
        rows = [list(range(3, 40)), list(range(5, 42))]
        result: NDArray[np.float32] = np.stack(engine.sequences(2).append(rows, logits="all"))
        return result
    finally:
        engine.close()


@pytest.mark.parametrize("form", ["int8", "kv"])
def test_a_plan_without_vnni_is_as_near_to_float32(
    form: str, plans: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = logits(plans["float32"])
    monkeypatch.setattr(backend, "saturates", lambda: True)
    error = np.linalg.norm(logits(plans[form]) - exact) / np.linalg.norm(exact)
    assert 0 < error < 0.03


def test_every_graph_reads_uint8_weights(plans: dict[str, Path]) -> None:
    with Plan(plans["int8"]) as plan:
        stored = {tensor.name: tensor for tensor in plan.manifest.tensors if tensor.name.endswith(".channel")}
        with plan.mapped("weights.bin") as data:
            for graph in ("model.onnx", PACKED):
                form = without_vnni(plan, graph)
                assert form.weights.keys() == stored.keys()
                for name, weight in form.weights.items():
                    tensor = stored[name]
                    signed = np.frombuffer(bytes(data[tensor.offset : tensor.offset + tensor.bytes]), np.int8)
                    np.testing.assert_array_equal(weight.reshape(-1), signed.astype(np.int16) + 128)


def test_a_graph_without_the_initializers_is_warned_about(
    plans: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "FULL", {"absent from graphs": np.array(0)})
    with Plan(plans["int8"]) as plan, pytest.warns(UserWarning, match=r"no VNNI instructions; build the plan again"):
        assert without_vnni(plan, "model.onnx").weights == {}
