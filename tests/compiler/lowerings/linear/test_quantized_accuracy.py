"""Accuracy of the example model, whose weights are trained, in every quantized form; GPUs' forms run on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.targets import TARGETS, ort_cpu, ort_cuda, tensorrt
from archc.runtime.engine import Engine, load

EXAMPLES = Path(__file__).parents[4] / "examples"
TINY = EXAMPLES / "tiny-qwen2"
SUMS = 200
# TensorRT's other passes fix the capacity of caches, which the runtime for the CPU does not expect.
PASSES = {"ort-cpu": ort_cpu.passes, "ort-cuda": ort_cuda.passes, "tensorrt": tensorrt.lowering}


def log_probabilities(engine: Engine, rows: list[list[int]]) -> NDArray[np.float64]:
    """Return the logarithm of the probability of every token after each of these."""
    logits: Any = engine.sequences(len(rows)).append(rows, logits="all")
    wide = np.stack(logits).astype(np.float64)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def count_right(engine: Engine, rows: list[list[int]], sums: list[tuple[str, str]]) -> int:
    """Return the number of sums that are answered right."""
    replies = [engine.tokenizer.decode(ids) for ids in engine.generate(rows, max_new_tokens=4)]
    return sum(reply.startswith(result) for reply, (_, result) in zip(replies, sums, strict=True))


@pytest.fixture(scope="module")
def held_out() -> list[tuple[str, str]]:
    """Sums that the model was not trained on, with their answers."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from sums_split import answer, prompt, split_pairs
    finally:
        sys.path.remove(str(EXAMPLES))
    pairs = split_pairs()[1]
    return [(prompt(*pair), answer(*pair)) for pair in pairs[:: len(pairs) // SUMS][:SUMS]]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The example in float32."""
    engine = load(build(TINY, out=tmp_path_factory.mktemp("exact") / "engine.plan"), threads=1)
    yield engine
    engine.close()


CASES = [
    ("tensorrt", "int8", "float32", 0, 3e-4),
    ("tensorrt", "fp8", "float32", 0, 5e-3),
    ("tensorrt", "int4", "float32", 2, 7e-2),
    ("ort-cuda", "int8", "float16", 0, 4e-4),
    ("ort-cuda", "int4", "float16", 2, 7e-2),
    ("ort-cpu", "int8", "float32", 0, 3e-3),
    ("ort-cpu", "int4", "float32", 2, 7e-2),
]


@pytest.mark.parametrize(
    ("target", "quantize", "dtype", "wrong", "most"), CASES, ids=[f"{target}-{form}" for target, form, *_ in CASES]
)
def test_the_trained_example_still_adds(
    target: str,
    quantize: str,
    dtype: str,
    wrong: int,
    most: float,
    exact: Engine,
    held_out: list[tuple[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_the_cpu = replace(TARGETS[target], name="ort-cpu", passes=PASSES[target], output="plan")
    monkeypatch.setitem(TARGETS, "ort-cpu", on_the_cpu)  # type: ignore[misc]
    quantized = load(build(TINY, out=tmp_path / "engine.plan", quantize=quantize, dtype=dtype), threads=1)
    try:
        assert quantized.manifest.quantization == quantize
        rows = [exact.tokenizer.encode(question) for question, _ in held_out]
        before, after = (count_right(engine, rows, held_out) for engine in (exact, quantized))
        assert before >= SUMS - 1
        assert after >= before - wrong
        length = min(map(len, rows))
        p, q = (log_probabilities(engine, [row[:length] for row in rows]) for engine in (exact, quantized))
        divergence = float((np.exp(p) * (p - q)).sum(axis=-1).mean())
        print(f"{target} {quantize}: {after} of {SUMS} sums right, {before} before, divergence {divergence:.1e}")
        assert 0 < divergence < most
    finally:
        quantized.close()
