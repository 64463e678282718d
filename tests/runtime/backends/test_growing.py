"""Folders whose caches grow, in the decode loop of plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archc.compiler.build import build
from archc.runtime import Engine, PlanError, load

TINY = Path(__file__).parents[3] / "examples" / "tiny-qwen2"
ROWS = [[18, 22, 10, 23, 20, 28], [18], [40, 41, 42]]
Pair = tuple[Engine, Engine]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("growing")
    plan, other = (build(TINY, out=folder / name, target=name) for name in ("ort-cpu", "onnx-hf"))
    with load(plan, threads=1) as own, load(other, threads=1) as opened:
        yield own, opened


def test_ragged_rows_have_the_logits_of_a_plan(pair: Pair) -> None:
    own, opened = (engine.logits(ROWS) for engine in pair)
    for row, expected, logits in zip(ROWS, own, opened, strict=True):
        np.testing.assert_allclose(logits[: len(row)], expected[: len(row)], atol=1e-4)


def test_rows_that_pause_keep_their_slots(pair: Pair) -> None:
    results = []
    for engine in pair:
        sequences = engine.sequences(3)
        sequences.append(ROWS)
        sequences.append([[7, 8], [], [9]])
        results.append(sequences.append([[1], [2], [3]]))
    np.testing.assert_allclose(results[1], results[0], atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"speculate": 4}], ids=["greedy", "beams", "lookup"])
def test_generation_is_that_of_a_plan(pair: Pair, options: dict[str, object]) -> None:
    rows = ROWS[:1] if options else ROWS
    own, opened = (engine.run(rows, max_new_tokens=80, ignore_eos=True, **options).ids for engine in pair)
    assert own == opened
    assert len(own[0]) == 80  # past the first slots


def test_a_graph_without_a_cache_of_its_manifest_is_refused(tmp_path: Path) -> None:
    folder = build(TINY, out=tmp_path / "made", target="onnx-hf")
    manifest = json.loads((folder / "archc.json").read_bytes())
    manifest["state"][0]["input"] = "past_key_values.9.key"
    (folder / "archc.json").write_text(json.dumps(manifest))
    with pytest.raises(PlanError, match=r"model\.onnx: input 'past_key_values\.9\.key' not found; build the folder"):
        load(folder)
