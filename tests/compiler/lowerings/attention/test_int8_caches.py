"""KV caches in int8: what they hold, which caches they replace, and attention over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.contract.ports import describe, port
from archc.compiler.lowerings.attention.blocks import QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from tests.compiler.graphs import run
from tests.compiler.lowerings.attention.cached import (
    CAPACITY,
    INDICES,
    SEQ,
    TOTAL,
    CachedAttention,
    CachedLatent,
)
from tests.compiler.lowerings.attention.int8 import (
    caches_of,
    dequantize,
    lower_int8,
    outputs,
    quantize,
    stored_feeds,
    widths,
)
from tests.compiler.lowerings.attention.problems import FLOAT, lower

INT8 = ir.DataType.INT8
HEADS = CachedAttention()
LATENT = CachedLatent()
PROBLEMS = {
    "gqa": HEADS,
    "mha": CachedAttention(4, 4),
    "mqa": CachedAttention(4, 1),
    "whole-cache": CachedAttention(keys="capacity"),
    "latent": LATENT,
    "latent-alone": CachedLatent(rope=0),
    "latent-whole-cache": CachedLatent(keys="capacity"),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_cache_holds_each_token_within_half_a_step(problem: CachedAttention) -> None:
    feeds = problem.feeds(CAPACITY if problem.keys == "capacity" else TOTAL)
    results = outputs(lower_int8(problem), stored_feeds(problem, feeds))
    for name in problem.names:
        parts = widths(problem, name)
        integers, scales = quantize(feeds[f"new.{name}"], parts)
        written = results[f"present.{name}"]
        written = written.swapaxes(2, 3) if name == "key" else written
        written_scales = results[f"present.{name}.scale"].swapaxes(2, 3)
        old, old_scales = quantize(feeds[f"past.{name}"], parts)
        for row, start in enumerate(INDICES):
            new = slice(start, start + SEQ)
            np.testing.assert_array_equal(written[row, :, new], integers[row])
            np.testing.assert_array_equal(written_scales[row, :, new], scales[row])
            kept = np.delete(np.arange(CAPACITY), new)
            np.testing.assert_array_equal(written[row][:, kept], old[row][:, kept])
            np.testing.assert_array_equal(written_scales[row][:, kept], old_scales[row][:, kept])
        error = np.abs(dequantize(integers, scales, parts) - feeds[f"new.{name}"])
        assert (error <= np.repeat(scales, parts, axis=-1) * 0.5001).all()
        assert np.abs(written).max() == 127


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_attention_is_near_the_torch_operator_over_the_same_numbers(problem: CachedAttention) -> None:
    feeds = problem.feeds(CAPACITY if problem.keys == "capacity" else TOTAL)
    results = outputs(lower_int8(problem), stored_feeds(problem, feeds))
    expected = problem.expected(feeds, caches_of(problem, results))
    # Latents are dequantized; with keys and values, queries and weights are quantized as well.
    tolerance = 1e-5 if isinstance(problem, CachedLatent) else 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(results["y"], expected, rtol=0, atol=tolerance)


def test_products_are_in_integers() -> None:
    model = lower_int8(HEADS)
    plain = next(node for node in model.graph if node.op_type == "If" and len(node.outputs) == 1)
    operators_of_a_step = [node.op_type for node in plain.attributes["else_branch"].as_graph()]
    assert operators_of_a_step.count("MatMulInteger") == 2
    assert not {"MatMul", "FusedMatMul"} & {node.op_type for node in model.graph.all_nodes()}


def test_the_precision_of_a_query_is_independent_of_other_queries() -> None:
    """A small query next to a large one keeps its digits, which large keys make visible."""
    feeds = HEADS.feeds()
    feeds["q"] *= np.array([1e-3, 300, 1], np.float32)[:, None]
    for name in ("past.key", "new.key"):
        feeds[name] *= 1000
    results = outputs(lower_int8(HEADS), stored_feeds(HEADS, feeds))
    expected = HEADS.expected(feeds, caches_of(HEADS, results))
    tolerance = 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(results["y"][:, :, 0], expected[:, :, 0], rtol=0, atol=tolerance)


def test_a_query_of_zeros_weighs_all_keys_alike() -> None:
    feeds = HEADS.feeds()
    feeds["q"][:, :, 1] = 0
    results = outputs(lower_int8(HEADS), stored_feeds(HEADS, feeds))
    values = caches_of(HEADS, results)["value"]
    for row, start in enumerate(INDICES):
        mean = values[row, :, : start + 2].mean(1).repeat(2, axis=0)
        np.testing.assert_allclose(results["y"][row, :, 1], mean, rtol=0, atol=0.01)


@pytest.mark.parametrize("problem", [HEADS, LATENT], ids=["keys-and-values", "latent"])
def test_a_token_of_zeros_stays_zero(problem: CachedAttention) -> None:
    feeds = problem.feeds()
    for name in problem.names:
        feeds[f"new.{name}"][:, :, 1] = 0
    results = outputs(lower_int8(problem), stored_feeds(problem, feeds))
    assert np.isfinite(results["y"]).all()
    for name, cache in caches_of(problem, results).items():
        for row, start in enumerate(INDICES):
            assert not cache[row, :, start + 1].any()
            assert (results[f"present.{name}.scale"][row, ..., start + 1] > 0).all()


def test_a_latent_and_its_rotated_key_have_a_scale_each() -> None:
    """A rotated key that is a thousand times as large leaves the latent's digits alone."""
    feeds = LATENT.feeds()
    for name in ("past.latent", "new.latent"):
        feeds[name][..., LATENT.latent :] *= 1000
    results = outputs(lower_int8(LATENT), stored_feeds(LATENT, feeds))
    assert results["present.latent.scale"].shape == (2, 1, 2, CAPACITY)
    latents = caches_of(LATENT, results)["latent"][..., : LATENT.latent]
    for row, start in enumerate(INDICES):
        new = feeds["new.latent"][row, :, :, : LATENT.latent]
        assert np.abs(latents[row, :, start : start + SEQ] - new).max() < 0.51 / 127 * np.abs(new).max()


@pytest.mark.parametrize(
    ("problem", "shapes"),
    [
        pytest.param(
            CachedAttention(),
            {
                "past.key": (INT8, "[batch,2,8,capacity]"),
                "past.key.scale": (FLOAT, "[batch,2,1,capacity]"),
                "past.value": (INT8, "[batch,2,capacity,8]"),
                "past.value.scale": (FLOAT, "[batch,2,1,capacity]"),
            },
            id="keys-and-values",
        ),
        pytest.param(
            CachedLatent(),
            {"past.latent": (INT8, "[batch,1,capacity,14]"), "past.latent.scale": (FLOAT, "[batch,1,2,capacity]")},
            id="latent",
        ),
        pytest.param(
            CachedLatent(rope=0),
            {"past.latent": (INT8, "[batch,1,capacity,12]"), "past.latent.scale": (FLOAT, "[batch,1,1,capacity]")},
            id="latent-alone",
        ),
    ],
)
def test_integers_and_scales_are_in_the_place_of_the_cache(
    problem: CachedAttention, shapes: dict[str, tuple[ir.DataType, str]]
) -> None:
    before = [item.name for item in problem.model().graph.inputs]
    graph = lower_int8(problem).graph
    pasts = {item.name: (item.dtype, str(item.shape)) for item in graph.inputs if "past" in (item.name or "")}
    assert pasts == shapes
    presents = {item.name: (item.dtype, str(item.shape)) for item in graph.outputs[1:]}
    assert presents == {name.replace("past", "present"): kind for name, kind in shapes.items()}
    names = [item.name or "" for item in graph.inputs]
    assert [name for name in names if not name.endswith(".scale")] == before
    for name in shapes:
        if name.endswith(".scale"):
            assert names[names.index(name) - 1] == name.removesuffix(".scale")


@pytest.mark.parametrize(("state", "window"), [("kv", None), ("ring", 5)], ids=["growing", "ring"])
def test_both_states_keep_the_kind_and_the_window(state: str, window: int | None) -> None:
    problem = replace(HEADS, state=state, window=window)
    graph = lower_int8(problem).graph
    assert [(s.kind, s.input, s.output, s.window, s.dtype) for s in describe(graph).state] == [
        (state, "past.key", "present.key", window, "int8"),
        (state, "past.key.scale", "present.key.scale", window, "float32"),
        (state, "past.value", "present.value", window, "int8"),
        (state, "past.value.scale", "present.value.scale", window, "float32"),
    ]
    assert [port(output) for output in graph.outputs[1:]] == [{"state": state}] * 4


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_integers_and_scales_are_written_in_the_mode_of_the_cache(mode: str) -> None:
    model = lower_int8(replace(HEADS, mode=mode))
    updates = [node for node in model.graph if node.op_type == "TensorScatter"]
    attributes = [(node.attributes["axis"].value, node.attributes["mode"].value) for node in updates]
    assert attributes == [(-1, mode), (-1, mode), (-2, mode), (-1, mode)]


def test_a_ring_continues_at_its_start() -> None:
    problem = replace(HEADS, state="ring", window=5, mode="circular", keys="capacity")
    feeds = problem.feeds(CAPACITY)
    feeds["write_indices"] = np.array([CAPACITY - 1, 4])
    results = outputs(lower_int8(problem), stored_feeds(problem, feeds))
    caches = caches_of(problem, results)
    slots = (feeds["write_indices"][:, None] + np.arange(SEQ)) % CAPACITY
    for name, cache in caches.items():
        for row in range(2):
            new = feeds[f"new.{name}"][row]
            assert np.abs(cache[row][:, slots[row]] - new).max() < 0.51 / 127 * np.abs(new).max()
    expected = problem.expected(feeds, caches)
    np.testing.assert_allclose(results["y"], expected, rtol=0, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("problem", "slices"),
    [
        pytest.param(HEADS, 4, id="keys-and-values"),
        pytest.param(replace(HEADS, keys="capacity"), 0, id="keys-and-values-whole"),
        pytest.param(LATENT, 2, id="latent"),
        pytest.param(replace(LATENT, keys="capacity"), 0, id="latent-whole"),
    ],
)
def test_a_mask_as_long_as_the_cache_needs_no_slice(problem: CachedAttention, slices: int) -> None:
    graph = lower_int8(problem).graph
    caches = set(graph.outputs[1:])
    assert [node.op_type for node in graph if not caches.isdisjoint(node.inputs)].count("Slice") == slices


def test_float_caches_of_the_same_graph_have_the_same_result() -> None:
    """Int8 attention differs from attention over float caches by rounding alone."""
    caches = FloatCaches()
    attention = GroupedAttention(caches, QueryBlocks(), AdditiveMasks())
    exact = lower(HEADS.model(), Attention=attention, UpdateCache=caches.update)
    feeds = HEADS.feeds()
    expected, near = run(exact, feeds)[0], outputs(lower_int8(HEADS), stored_feeds(HEADS, feeds))["y"]
    assert 0 < np.abs(near - expected).max() < 0.05 * np.abs(expected).max()
