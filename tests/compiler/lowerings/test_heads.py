"""Heads as an axis and rows at chosen positions, next to the torch operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from archc.compiler.graph.domains import ARCHC
from archc.compiler.lowerings.driver import Lower
from archc.compiler.lowerings.heads import split_heads, take_positions
from archc.compiler.ops import operators as ops
from tests.compiler.graphs import model, operators, run, semantic, value

FLOAT, FLOAT16, INT64 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.INT64
TABLE = {"SplitHeads": split_heads, "TakePositions": take_positions}


def split(heads: int, width: int, dtype: ir.DataType = FLOAT) -> ir.Model:
    x = value("x", dtype, "batch", "seq", heads * width)
    node = semantic("SplitHeads", [x], "y", ["batch", heads, "seq", width], dtype, heads=heads)
    graph_model = model([x], [node], node.outputs)
    assert Lower(TABLE)(graph_model).modified
    return graph_model


def taken() -> ir.Model:
    x, positions = value("x", FLOAT, "batch", "seq", 3), value("positions", INT64, "batch", "asked")
    node = semantic("TakePositions", [x, positions], "y", ["batch", "asked", 3])
    graph_model = model([x, positions], [node], node.outputs)
    assert Lower(TABLE)(graph_model).modified
    return graph_model


@pytest.mark.parametrize("dtype", [FLOAT, FLOAT16], ids=["float32", "float16"])
@pytest.mark.parametrize(("heads", "width"), [(3, 4), (1, 5), (6, 1)], ids=["several", "one-head", "width-one"])
@pytest.mark.parametrize("shape", [(2, 5), (1, 1), (3, 1)], ids=["many", "one", "one-token"])
def test_heads_are_split_as_in_torch(shape: tuple[int, int], heads: int, width: int, dtype: ir.DataType) -> None:
    x = np.arange(np.prod([*shape, heads * width]), dtype=dtype.numpy()).reshape(*shape, heads * width)
    (y,) = run(split(heads, width, dtype), {"x": x})
    np.testing.assert_array_equal(y, ops.split_heads(torch.from_numpy(x), heads).numpy())
    assert y.shape == (shape[0], heads, shape[1], width)


def test_no_arithmetic_on_shapes_is_in_the_graph() -> None:
    graph_model = split(3, 4)
    assert operators(graph_model) == ["Reshape", "Transpose"]
    (output,) = graph_model.graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y", FLOAT, "[batch,3,seq,4]")


@pytest.mark.parametrize(
    "positions", [[[4, 0], [3, 3]], [[2], [0]], [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]], ids=["two", "one", "all"]
)
def test_rows_at_positions_are_those_of_torch(positions: list[list[int]]) -> None:
    x, chosen = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor(positions)
    (y,) = run(taken(), {"x": x.numpy(), "positions": chosen.numpy()})
    np.testing.assert_array_equal(y, ops.take_positions(x, chosen).numpy())


def test_no_position_is_no_row() -> None:
    (y,) = run(taken(), {"x": np.ones((2, 5, 3), np.float32), "positions": np.zeros((2, 0), np.int64)})
    assert y.shape == (2, 0, 3)


def test_the_rows_keep_name_type_and_shape() -> None:
    graph_model = taken()
    (output,) = graph_model.graph.outputs
    assert (output.name, output.dtype, str(output.shape)) == ("y", FLOAT, "[batch,asked,3]")
    assert ARCHC not in graph_model.graph.opset_imports
