"""KV caches in float: where entries are written, and which slots attention reads."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.compiler.graphs import operators, run
from tests.compiler.lowerings.attention.cached import (
    CAPACITY,
    INDICES,
    SEQ,
    TOTAL,
    CachedAttention,
    CachedLatent,
    lower_float,
)
from tests.compiler.lowerings.attention.problems import FLOAT, FLOAT16

PROBLEMS = {"keys-and-values": CachedAttention(), "latents": CachedLatent()}
TARGETS = ["ort-cpu", "portable", "tensorrt"]


def lowered(problem: CachedAttention, target: str = "ort-cpu") -> ir.Model:
    return lower_float(problem.model(), target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_attention_reads_the_live_slots_of_the_written_cache(problem: CachedAttention, target: str) -> None:
    feeds = problem.feeds()
    presents = problem.presents(feeds)
    y, *caches = run(lowered(problem, target), feeds)
    for cache, expected in zip(caches, presents.values(), strict=True):
        np.testing.assert_array_equal(cache, expected)
    np.testing.assert_allclose(y, problem.expected(feeds, presents), rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_slots_after_the_mask_are_not_read(problem: CachedAttention, target: str) -> None:
    feeds = problem.feeds()
    model = lowered(problem, target)
    y = run(model, feeds)[0]
    for name in problem.names:
        feeds[f"past.{name}"][:, :, TOTAL:] = np.nan
    np.testing.assert_array_equal(run(model, feeds)[0], y)


def test_float16_caches_stay_float16() -> None:
    problem = CachedAttention(dtype=FLOAT16)
    feeds = problem.feeds()
    presents = problem.presents(feeds)
    y, key, value = run(lowered(problem), feeds)
    np.testing.assert_array_equal(key, presents["key"])
    np.testing.assert_array_equal(value, presents["value"])
    np.testing.assert_allclose(y, problem.expected(feeds, presents), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("slots", "keys", "slices"),
    [
        pytest.param("capacity", "total", 2, id="mask-of-live-slots"),
        pytest.param("capacity", "capacity", 0, id="mask-as-long-as-the-cache"),
        pytest.param(CAPACITY, CAPACITY, 0, id="fixed-and-as-long"),
        pytest.param(CAPACITY, TOTAL, 2, id="fixed-and-shorter"),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_a_mask_as_long_as_the_cache_needs_no_slice(
    target: str, slots: int | str, keys: int | str, slices: int
) -> None:
    problem = CachedAttention(slots=slots, keys=keys, width=16)
    model = lowered(problem, target)
    assert operators(model).count("Slice") == slices
    feeds = problem.feeds(TOTAL if slices else CAPACITY)
    expected = problem.expected(feeds, problem.presents(feeds))
    np.testing.assert_allclose(run(model, feeds)[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_updates_scatter_along_the_slots(mode: str) -> None:
    model = lowered(CachedAttention(mode=mode))
    updates = [node for node in model.graph if node.op_type == "TensorScatter"]
    assert [(node.attributes["axis"].value, node.attributes["mode"].value) for node in updates] == [(-2, mode)] * 2
    assert [node.inputs[0].name for node in updates] == ["past.key", "past.value"]  # type: ignore[union-attr]
    assert [node.outputs[0] for node in updates] == model.graph.outputs[1:]
    assert [output.name for output in model.graph.outputs] == ["y", "present.key", "present.value"]
    assert {(output.dtype, str(output.shape)) for output in model.graph.outputs[1:]} == {
        (FLOAT, "[batch,2,capacity,8]")
    }


def test_a_circular_update_continues_at_the_start() -> None:
    problem = CachedAttention(mode="circular", keys="capacity")
    feeds = problem.feeds(CAPACITY)
    start = CAPACITY - 1
    feeds["write_indices"] = np.array([start, INDICES[1]])
    slots = (feeds["write_indices"][:, None] + np.arange(SEQ)) % CAPACITY
    presents = {}
    for name in problem.names:
        presents[name] = feeds[f"past.{name}"].copy()
        for row in range(2):
            presents[name][row][:, slots[row]] = feeds[f"new.{name}"][row]
    y, key, value = run(lowered(problem), feeds)
    np.testing.assert_array_equal(key, presents["key"])
    np.testing.assert_array_equal(value, presents["value"])
    np.testing.assert_allclose(y, problem.expected(feeds, presents), rtol=0, atol=2e-6)
