"""Attention by blocks of queries: the numbers of the plain form, from the keys that a block attends to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.lowerings.attention.blocks import BLOCK, MANY, QueryBlocks
from archc.compiler.lowerings.attention.caches import FloatCaches
from archc.compiler.lowerings.attention.grouped import GroupedAttention
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.runtime.engine import load
from tests.compiler.graphs import operators, run
from tests.compiler.lowerings.attention.problems import FLOAT16, Attention, MaskKind, PlainForm, lower

TOTAL = MANY + 90
KINDS: list[MaskKind] = ["causal", "window", "prefix", "all", "nothing"]
EXAMPLE = Path(__file__).parents[4] / "examples" / "tiny-qwen2"


def blocked(problem: Attention) -> ir.Model:
    """Return the graph, whose products are all in the branches of an If."""
    model = lower(problem.model(), Attention=GroupedAttention(FloatCaches(), QueryBlocks(), AdditiveMasks()))
    assert {"Softmax", "MatMul", "FusedMatMul"}.isdisjoint(operators(model))
    return model


@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seq", [1, MANY - 1, MANY, MANY + 1, MANY + BLOCK - 1])
def test_equals_the_torch_operator(kv_heads: int, kind: MaskKind, seq: int) -> None:
    problem = Attention(4, kv_heads)
    feeds = problem.feeds(seq, TOTAL, kind)
    result = run(blocked(problem), feeds)[0]
    # The result of a query without keys is any finite number; the second row's windows end in such queries.
    assert np.isfinite(result).all()
    attends = feeds["mask"].any(-1)[:, 0]
    by_query = (array.transpose(0, 2, 1, 3) for array in (result, problem.expected(feeds)))
    np.testing.assert_allclose(*(array[attends] for array in by_query), rtol=0, atol=2e-6)


def test_hidden_keys_are_not_read() -> None:
    """NaN in the keys and values after the last one that a block attends to is not in its result."""
    problem = Attention(4, 2)
    feeds = problem.feeds(MANY, MANY)
    poisoned = {name: array.copy() for name, array in feeds.items()}
    for name in ("k", "v"):
        poisoned[name][:, :, BLOCK:] = np.nan
    model = blocked(problem)
    first = run(model, poisoned)[0][:, :, :BLOCK]
    np.testing.assert_array_equal(first, run(model, feeds)[0][:, :, :BLOCK])
    assert np.isnan(problem.expected(poisoned)[:, :, :BLOCK]).all()


def test_keys_before_a_window_are_not_read() -> None:
    problem = Attention(4, 2)
    feeds = problem.feeds(MANY, MANY, "window")
    poisoned = {name: array.copy() for name, array in feeds.items()}
    before = int(feeds["mask"][:, :, BLOCK:].argmax(-1).min())
    for name in ("k", "v"):
        poisoned[name][:, :, :before] = np.nan
    model = blocked(problem)
    np.testing.assert_array_equal(run(model, poisoned)[0][:, :, BLOCK:], run(model, feeds)[0][:, :, BLOCK:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seq", [1, MANY, MANY + 1, MANY + BLOCK - 1])
def test_bounds_hold_every_attended_key_and_no_hidden_one_at_their_ends(kind: MaskKind, seq: int) -> None:
    problem = Attention(4, 2)
    model = blocked(problem)
    bounds = next(node for node in model.graph if node.op_type == "If")
    model.graph.outputs[:] = bounds.outputs
    for output in bounds.outputs:
        output.type, output.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([None, 1])
    feeds = problem.feeds(seq, TOTAL, kind)
    first_query, end_query, first_key, end_key = run(model, feeds)
    if seq < MANY:
        assert [array.shape for array in (first_query, end_query, first_key, end_key)] == [(1, 1)] * 4
        return
    np.testing.assert_array_equal(first_query[:, 0], np.arange(0, seq, BLOCK))
    np.testing.assert_array_equal(end_query, first_query + BLOCK)
    some_row = feeds["mask"].any((0, 1))
    for start, key, end in zip(first_query[:, 0], first_key[:, 0], end_key[:, 0], strict=True):
        attended = np.flatnonzero(some_row[start : start + BLOCK].any(0))
        # A block that attends to nothing has all keys.
        expected = (attended[0], attended[-1] + 1) if attended.size else (0, TOTAL)
        assert (key, end) == expected


OPTIONS = {
    "softcap": {"softcap": 1.5},
    "sinks": {"softcap": 1.5, "sinks": True},
    "alibi": {"bias": "alibi"},
    "relative-bias": {"bias": "relative"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_equal_the_torch_operator(options: dict[str, Any]) -> None:
    problem = Attention(4, 2, **options)
    feeds = problem.feeds(MANY + 5, TOTAL)
    np.testing.assert_allclose(run(blocked(problem), feeds)[0], problem.expected(feeds), rtol=0, atol=4e-6)


def test_float16_equals_the_torch_operator() -> None:
    problem = Attention(4, 2, dtype=FLOAT16)
    feeds = problem.feeds(MANY + 5, TOTAL)
    result = run(blocked(problem), feeds)[0]
    assert result.dtype == np.float16
    np.testing.assert_allclose(result, problem.expected(feeds), rtol=0, atol=5e-3)


def test_layers_share_the_bounds_of_their_mask() -> None:
    problem = Attention(4, 2, layers=2)
    model = blocked(problem)
    assert operators(model).count("If") == 3  # the bounds, and one for each layer
    feeds = problem.feeds(MANY, TOTAL)
    np.testing.assert_allclose(run(model, feeds)[0], problem.expected(feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize("axis", [2, 3], ids=["one-row-of-queries", "one-column-of-keys"])
def test_a_mask_that_broadcasts_is_not_cut(axis: int) -> None:
    problem = Attention(4, 2)
    model = problem.model()
    mask = model.graph.inputs[3]
    mask.shape = ir.Shape([1 if index == axis else size for index, size in enumerate(mask.shape)])
    lower(model, Attention=GroupedAttention(FloatCaches(), QueryBlocks(), AdditiveMasks()))
    assert "If" not in operators(model)
    feeds = problem.feeds(MANY, MANY)
    feeds["mask"] = np.take(feeds["mask"], [MANY - 4], axis=axis).copy()
    whole = feeds | {"mask": np.broadcast_to(feeds["mask"], (2, 1, MANY, MANY)).copy()}
    attends = whole["mask"].any(-1)[:, 0]
    by_query = (array.transpose(0, 2, 1, 3) for array in (run(model, feeds)[0], problem.expected(whole)))
    np.testing.assert_allclose(*(array[attends] for array in by_query), rtol=0, atol=2e-6)


def test_int8_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt of the example checkpoint, in blocks and at once, over int8 caches."""
    ids = np.random.default_rng(6).integers(0, 1000, (2, MANY + BLOCK + 1)).tolist()

    def logits(name: str, loops: int, products: int) -> NDArray[np.float32]:
        engine = load(build(EXAMPLE, out=tmp_path / f"{name}.plan", kv="int8"), threads=1)
        result = engine.logits(ids)
        graph = ir.serde.deserialize_model(onnx.load_from_string(engine.plan.read("model.onnx"))).graph
        engine.close()
        assert [node.op_type for node in graph.all_nodes()].count("Loop") == loops
        assert [node.op_type for node in graph].count("MatMulInteger") == products
        return result

    blocks = logits("blocks", loops=5, products=0)
    monkeypatch.setattr(QueryBlocks, "build", PlainForm.build)
    plain = logits("plain", loops=0, products=10)
    # Queries are quantized with one scale for a call, or for a block.
    assert np.abs(blocks - plain).max() < 0.01 * np.abs(plain).max()
