"""What fewer bits for GPUs cost the example model, whose weights are trained: the same nodes, on the CPU."""

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
from archc.compiler.targets import TARGETS
from archc.runtime.engine import Engine, load

EXAMPLES = Path(__file__).parents[4] / "examples"
TINY = EXAMPLES / "tiny-qwen2"
SUMS = 200


def likelihoods(engine: Engine, rows: list[list[int]]) -> NDArray[np.float64]:
    """Of every token after each of these, its logarithm."""
    logits: Any = engine.sequences(len(rows)).append(rows, logits="all")
    wide = np.stack(logits).astype(np.float64)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def right_ones(engine: Engine, rows: list[list[int]], sums: list[tuple[str, str]]) -> int:
    """How many sums are answered right."""
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
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The example as it is."""
    engine = load(build(TINY, out=tmp_path_factory.mktemp("plain") / "engine.plan"), threads=1)
    yield engine
    engine.close()


CASES = [
    ("tensorrt", "int8", "float32", 0, 3e-4),
    ("tensorrt", "fp8", "float32", 0, 4e-3),
    ("tensorrt", "int4", "float32", 2, 7e-2),
    ("ort-cuda", "int8", "float16", 0, 3e-4),
    ("ort-cuda", "int4", "float16", 2, 7e-2),
]


@pytest.mark.parametrize(("target", "form", "dtype", "wrong", "divergence"), CASES)
def test_the_trained_example_still_adds(
    target: str, form: str, dtype: str, wrong: int, divergence: float, plain: Engine, held_out: list[tuple[str, str]],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    there = TARGETS[target]
    here = replace(TARGETS["ort-cpu"], quantizations=there.quantizations, quantized_dtypes=there.quantized_dtypes)
    monkeypatch.setitem(TARGETS, "ort-cpu", here)  # type: ignore[misc]
    fewer = load(build(TINY, out=tmp_path / "engine.plan", quantize=form, dtype=dtype), threads=1)
    try:
        rows = [plain.tokenizer.encode(question) for question, _ in held_out]
        before, after = (right_ones(engine, rows, held_out) for engine in (plain, fewer))
        assert before >= SUMS - 1
        assert after >= before - wrong
        length = min(map(len, rows))
        wanted, got = (likelihoods(engine, [row[:length] for row in rows]) for engine in (plain, fewer))
        gap = float((np.exp(wanted) * (wanted - got)).sum(axis=-1).mean())
        print(f"{target} {form}: {after} of {SUMS} sums right, {before} before, divergence {gap:.1e}")
        assert 0 < gap < divergence
    finally:
        fewer.close()
