"""A residual sum and its norm become ONNX Runtime's fused node; sums that may broadcast and other norms stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.passes.fuse_norms import FuseNorms
from tests.compiler.graphs import build, constant, operators, run, typed, value

FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16
WIDTH = 12
STREAM = ("batch", "seq", WIDTH)
FUSED = {"RMSNormalization": "SkipSimplifiedLayerNormalization", "LayerNormalization": "SkipLayerNormalization"}
NORMS = pytest.mark.parametrize("op_type", FUSED)


def vector(name: str, *shape: int) -> ir.Value:
    """A random constant [WIDTH], or of another shape."""
    return constant(name, np.random.default_rng(len(name)).standard_normal(shape or (WIDTH,)).astype(np.float32))


def residual(
    op_type: str = "RMSNormalization",
    constant_term: tuple[int, ...] | None = None,
    dtype: ir.DataType = FLOAT,
    computed: bool = True,
    axes: tuple[int | str, ...] = STREAM,
    scale_shape: tuple[int, ...] = (WIDTH,),
    axis: int = -1,
    statistics: bool = False,
) -> ir.Model:
    """norm(−x + −y) + (−x + −y), as the next block of a model reads both.

    A constant of the shape `constant_term` replaces −y; without `computed` the sum is x + y, of graph inputs; `axes`
    are those of y, and `statistics` makes the mean of the norm an output.
    """
    x, y = value("x", dtype, *STREAM), value("y", dtype, *axes)
    weights = [vector("scale", *scale_shape), *([vector("bias")] if op_type == "LayerNormalization" else [])]
    other = None if constant_term is None else vector("term", *constant_term)
    attributes: dict[str, Any] = {"epsilon": 0.05, "axis": axis}

    def make(op: GraphBuilder) -> list[ir.Value]:
        left, right = (typed(op.Neg(item), f"minus.{item.name}", dtype, *item.shape) for item in (x, y))
        terms = (left, right if other is None else other) if computed else (x, y)
        total = typed(op.Add(*terms), "sum", dtype, *STREAM)
        results = op.node(op_type, total, *weights, outputs=1 + statistics, **attributes)
        normed, *rest = results if statistics else (results,)
        typed(normed, "normed", dtype, *STREAM)
        means = [typed(mean, "mean", FLOAT, "batch", "seq", 1) for mean in rest]
        return [typed(op.Add(normed, total), "after", dtype, *STREAM), *means]

    return build([x, y], make, [*weights, *([] if other is None else [other])])


def feeds(*shape: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(1)
    return {name: random.standard_normal(shape).astype(np.float32) for name in "xy"}


@NORMS
def test_the_sum_and_its_norm_become_one_node_with_the_same_results(op_type: str) -> None:
    expected = run(residual(op_type), feeds(2, 5, WIDTH))[0]
    fused = residual(op_type)
    assert FuseNorms(FLOAT)(fused).modified
    assert operators(fused) == ["Neg", "Neg", FUSED[op_type], "Add"]
    assert fused.graph.opset_imports[MICROSOFT] == 1
    np.testing.assert_allclose(run(fused, feeds(2, 5, WIDTH))[0], expected, atol=1e-5)


@NORMS
def test_names_types_and_shapes_of_sum_and_norm_stay(op_type: str) -> None:
    fused = residual(op_type)
    FuseNorms(FLOAT)(fused)
    node = next(item for item in fused.graph if item.op_type == FUSED[op_type])
    described = [(item.name, item.dtype, str(item.shape)) for item in (node.outputs[0], node.outputs[3])]
    assert described == [("normed", FLOAT, "[batch,seq,12]"), ("sum", FLOAT, "[batch,seq,12]")]
    assert node.attributes.get_float("epsilon", 0) == pytest.approx(0.05)


def test_every_dtype_that_is_listed_is_fused() -> None:
    assert FuseNorms(FLOAT, FLOAT16)(residual(dtype=FLOAT16)).modified


@pytest.mark.parametrize("source", ["graph input", "product"])
def test_a_norm_without_a_sum_stays(source: str) -> None:
    x, scale = value("x", FLOAT, *STREAM), vector("scale")

    def make(op: GraphBuilder) -> list[ir.Value]:
        data = x if source == "graph input" else typed(op.Mul(op.Neg(x), op.Neg(x)), "product", FLOAT, *STREAM)
        return [typed(op.RMSNormalization(data, scale), "y", FLOAT, *STREAM)]

    assert not FuseNorms(FLOAT)(build([x], make, [scale])).modified


UNFUSED: dict[str, dict[str, Any]] = {
    "a constant": {"constant_term": (1, 1, WIDTH)},
    "a constant vector": {"constant_term": (WIDTH,)},
    "graph inputs, which may be broadcast": {"computed": False},
    "one row for a whole batch": {"axes": (1, "seq", WIDTH)},
    "one column": {"axes": ("batch", "seq", 1)},
    "an operand without the axis of the batch": {"axes": ("seq", WIDTH)},
    "a dtype without a kernel": {"dtype": FLOAT16},
    "a norm over two axes": {"axis": 1},
    "a scale of two axes": {"scale_shape": (1, WIDTH)},
    "statistics of the norm that are read": {"op_type": "LayerNormalization", "statistics": True},
}


@pytest.mark.parametrize("name", UNFUSED)
def test_other_sums_and_norms_stay(name: str) -> None:
    model, original = (residual(**UNFUSED[name]) for _ in range(2))
    assert not FuseNorms(FLOAT)(model).modified
    assert operators(model) == operators(original)
    assert MICROSOFT not in model.graph.opset_imports


def test_a_sum_of_unknown_shape_stays() -> None:
    model = residual()
    next(node for node in model.graph if node.op_type == "Add").outputs[0].shape = None
    assert not FuseNorms(FLOAT)(model).modified


def test_a_graph_input_of_one_row_stays_broadcast() -> None:
    """ONNX Runtime runs a graph with a smaller input than declared; its fused node would read past it."""
    model = residual(computed=False)
    FuseNorms(FLOAT)(model)
    inputs = feeds(2, 5, WIDTH)
    inputs["y"] = inputs["y"][:1]
    total = inputs["x"] + inputs["y"]
    scale = model.graph.initializers["scale"].const_value.numpy()
    normed = total / np.sqrt((total**2).mean(-1, keepdims=True) + 0.05) * scale
    np.testing.assert_allclose(run(model, inputs)[0], normed + total, atol=1e-5)
