"""Attention by blocks of queries: the same numbers as at once, from the keys that a block sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from archc.compiler.build import build
from archc.compiler.passes.attention.blocked_attention import BLOCK, MANY, block_attention
from archc.compiler.passes.attention.grouped_attention import group_attention
from archc.compiler.targets import TARGETS
from archc.runtime.engine import load
from tests.compiler.graphs import attention, attention_feeds, model, operators, run, value

FLOAT, BOOL = ir.DataType.FLOAT, ir.DataType.BOOL
HEADS, WIDTH = 4, 8
TOTAL = MANY + 90
Arrays = Mapping[str, NDArray[Any]]


def masked(kind: str, seq: int, total: int) -> NDArray[np.bool_]:
    """bool [2, 1, seq, total], of which the last query is the last key's token."""
    query, key = np.arange(total - seq, total)[:, None], np.arange(total)
    seen = {
        "causal": key <= query,
        "window": (key <= query) & (key > query - 40),
        "prefix": (key <= query) | (key < total // 2),
        "all": np.ones((seq, total), bool),
        "nothing": np.zeros((seq, total), bool),
    }[kind]
    rows = np.stack([seen, seen & (key < total - 3)])  # the second row has padding
    return np.ascontiguousarray(rows[:, None])


def grouped(kv_heads: int) -> ir.Model:
    graph = attention(HEADS, kv_heads, WIDTH, 0.7, BOOL)
    group_attention(graph)
    return graph


def feeds(kv_heads: int, kind: str, seq: int, total: int = TOTAL) -> Arrays:
    made = attention_feeds(HEADS, kv_heads, WIDTH, BOOL, seq, total)
    return {**made, "mask": masked(kind, seq, total)}


def blocked(graph: ir.Model) -> ir.Model:
    assert block_attention(graph) == 1
    assert {"Softmax", "MatMul", "FusedMatMul"}.isdisjoint(node.op_type for node in graph.graph)
    return graph


@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1], ids=["mha", "gqa", "mqa"])
@pytest.mark.parametrize("kind", ["causal", "window", "prefix", "all", "nothing"])
@pytest.mark.parametrize("seq", [1, MANY - 1, MANY, MANY + 1, MANY + BLOCK - 1])
def test_equals_the_plain_form(kv_heads: int, kind: str, seq: int) -> None:
    given = feeds(kv_heads, kind, seq)
    plain, found = (run(graph, given)[0] for graph in (grouped(kv_heads), blocked(grouped(kv_heads))))
    # Of a query that sees nothing no more is asked than a number; the second row's windows end in such.
    assert np.isfinite(found).all()
    sees = given["mask"].any(-1)[:, 0]
    by_query = (array.transpose(0, 2, 1, 3) for array in (plain, found))
    np.testing.assert_allclose(*(array[sees] for array in by_query), rtol=0, atol=2e-6)


def test_hidden_keys_are_not_read() -> None:
    """Numbers that are none, behind all that a block sees, do not reach it."""
    given = feeds(2, "causal", MANY, MANY)
    poisoned = {name: array.copy() for name, array in given.items()}
    for name in ("k", "v"):
        poisoned[name][:, :, BLOCK:] = np.nan
    graph = blocked(grouped(2))
    first = run(graph, poisoned)[0][:, :, :BLOCK]
    np.testing.assert_array_equal(first, run(graph, given)[0][:, :, :BLOCK])
    assert np.isnan(run(grouped(2), poisoned)[0][:, :, :BLOCK]).all()


def spelled(sinks: bool) -> ir.Model:
    """As `archc.compiler.ops.operators` spells a cap and sinks: scores cut by tanh, one more score a head."""
    inputs = [
        value("q", FLOAT, "batch", HEADS, "seq", WIDTH),
        value("k", FLOAT, "batch", 2, "total", WIDTH),
        value("v", FLOAT, "batch", 2, "total", WIDTH),
        value("mask", BOOL, "batch", 1, "seq", "total"),
    ]
    q, k, v, mask = inputs
    nodes: list[ir.Node] = []

    def op(op_type: str, *given: ir.Value, **attributes: Any) -> ir.Value:
        listed = [ir.convenience.convert_attribute(name, item) for name, item in attributes.items()]
        nodes.append(ir.Node("", op_type, given, listed, num_outputs=1, name=f"n{len(nodes)}"))
        nodes[-1].outputs[0].name = f"v{len(nodes)}"
        return nodes[-1].outputs[0]

    def number(item: Any, dtype: type = np.float32) -> ir.Value:
        return op("Constant", value=ir.tensor(np.array(item, dtype)))

    def sizes(*items: int) -> ir.Value:
        return number(items, np.int64)

    products = op("MatMul", op("Reshape", q, sizes(0, 2, -1, WIDTH)), op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = op(
        "Reshape", op("Mul", op("Tanh", op("Mul", products, number(0.02))), number(30.0)), sizes(0, HEADS, -1, 0)
    )
    seen = op("Where", mask, scores, number(np.finfo(np.float32).min))
    if sinks:
        column = op("Concat", op("Shape", seen, start=0, end=3), sizes(1), axis=0)
        sink = op("Expand", number(np.linspace(-1, 2, HEADS).reshape(1, HEADS, 1, 1)), column)
        weights = op("Softmax", op("Concat", seen, sink, axis=-1), axis=-1)
        weights = op("Slice", weights, sizes(0), sizes(-1), sizes(3))
    else:
        weights = op("Softmax", seen, axis=-1)
    result = op("Reshape", op("MatMul", op("Reshape", weights, sizes(0, 2, -1, 0)), v), sizes(0, HEADS, -1, WIDTH))
    result.type, result.shape = ir.TensorType(FLOAT), ir.Shape(["batch", HEADS, "seq", WIDTH])
    return model(inputs, nodes, [result])


@pytest.mark.parametrize("sinks", [False, True], ids=["capped", "sinks"])
def test_scores_that_are_spelled_out(sinks: bool) -> None:
    given = feeds(2, "causal", MANY + 5)
    np.testing.assert_allclose(run(blocked(spelled(sinks)), given)[0], run(spelled(sinks), given)[0], rtol=0, atol=2e-6)


def test_layers_share_what_is_found_of_their_mask() -> None:
    one, two = attention(HEADS, 2, WIDTH, 0.7, BOOL), attention(HEADS, 2, WIDTH, 0.7, BOOL)
    (second,) = two.graph
    two.graph.outputs.clear()
    two.graph.remove(second)
    second.name, (result,) = "second", one.graph.outputs
    for index, given in enumerate([result, *one.graph.inputs[1:]]):
        second.replace_input_with(index, given)
    one.graph.insert_after(one.graph[0], second)
    one.graph.outputs[0] = second.outputs[0]
    result.name = "first"
    group_attention(one)
    given = feeds(2, "causal", MANY)
    wanted = run(one, given)[0]
    assert block_attention(one) == 2
    assert operators(one).count("If") == 3
    np.testing.assert_allclose(run(one, given)[0], wanted, rtol=0, atol=2e-6)


def test_a_mask_that_does_not_say_which_keys_are_seen_stays() -> None:
    graph = attention(HEADS, 2, WIDTH, 0.7, FLOAT)
    group_attention(graph)
    assert block_attention(graph) == 0


def test_weights_that_are_read_elsewhere_stay() -> None:
    graph = grouped(2)
    (softmax,) = (node for node in graph.graph if node.op_type == "Softmax")
    softmax.outputs[0].type = ir.TensorType(FLOAT)
    graph.graph.outputs.append(softmax.outputs[0])
    assert block_attention(graph) == 0


def test_caches_of_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = Path(__file__).parents[4] / "examples" / "tiny-qwen2"
    ids = np.random.default_rng(6).integers(0, 1000, (2, MANY + BLOCK + 1)).tolist()
    found = {}
    for name, passes in (("blocked", (block_attention,)), ("plain", ())):
        monkeypatch.setitem(TARGETS, "ort-cpu", replace(TARGETS["ort-cpu"], last_passes=passes))
        plan = build(example, out=tmp_path / f"{name}.plan", kv="int8")
        engine = load(plan, threads=1)
        found[name] = engine.logits(ids)
        graph = ir.serde.deserialize_model(onnx.load_from_string(engine.plan.read("model.onnx")))
        engine.close()
        assert [node.op_type for node in graph.graph.all_nodes()].count("Loop") == (5 if passes else 0)
        assert [node.op_type for node in graph.graph].count("MatMulInteger") == (0 if passes else 10)
    # A query's integers have a scale of their call's, or of their block's.
    assert np.abs(found["blocked"] - found["plain"]).max() < 0.01 * np.abs(found["plain"]).max()
