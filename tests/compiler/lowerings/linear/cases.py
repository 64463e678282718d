"""Products and lookups before they are lowered, the numbers of their weights, and the torch operator's results."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from archc.compiler.lowerings.driver import Lower, Lowering
from archc.compiler.lowerings.heads import split_heads
from archc.compiler.lowerings.norm import standard_norm
from archc.compiler.ops import operators as ops
from archc.compiler.weights.lazy import StackedWeight
from tests.compiler.graphs import constant, describe, model, semantic, value, weight

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
K, SIZES = 96, {"q": 24, "k": 8}
HEAD_WIDTH = 8
EPSILON = 1e-5
Axes = Sequence[int | str]
SEQUENCES: Axes = ("batch", "seq")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole_by_block(*shape: int) -> NDArray[np.float32]:
    """Whole numbers that int8 holds exactly with a scale for each 32, of which each has a 127."""
    x = np.random.default_rng(1).integers(-127, 128, shape).astype(np.float32)
    x[..., ::32] = 127
    return x


def whole_by_row(*shape: int, largest: int = 127) -> NDArray[np.float32]:
    """Whole numbers that integers up to `largest`, the magnitude of each row, hold exactly with a scale for each."""
    x = np.random.default_rng(1).integers(-largest, largest + 1, shape).astype(np.float32)
    x[..., 0] = -largest
    return x


def check_exact(result: NDArray[np.float32], exact: NDArray[Any]) -> None:
    """Assert that results differ by no more than rounding of float32."""
    assert np.abs(result - exact).max() < 1e-5 * np.abs(exact).max()


def slots() -> dict[str, Tensor]:
    """The weights of `projections`: the first has a row of zeros, a block of zeros and one large number."""
    random = torch.Generator().manual_seed(0)
    tables = {f"{name}.weight": torch.randn(size, K, generator=random) for name, size in SIZES.items()}
    tables["q.weight"][2] = 0
    tables["q.weight"][3, :32] = 0
    tables["q.weight"][4, 40] = 9.0
    return tables | {"q.bias": torch.arange(24.0), "k.bias": torch.arange(8.0) / 3}


def product(
    slot: str = "w",
    rows: int = SIZES["q"],
    columns: int = K,
    axes: Axes = SEQUENCES,
    biased: bool = False,
    normed: bool = False,
    dtype: ir.DataType = FLOAT,
) -> ir.Model:
    """x [..., K] · weightᵀ + bias as one Linear; with `normed`, of the RMS norm of x."""
    x = value("x", dtype, *axes, columns)
    weights = [weight(slot, rows, columns, dtype=dtype), *([weight(f"{slot}.bias", rows, dtype=dtype)] * biased)]
    nodes, source, ones = _norm(x, normed)
    linear = semantic("Linear", [source, *weights], "y", [*axes, rows], dtype)
    return model([x], [*nodes, linear], linear.outputs, [*weights, *ones])


def projections(
    biased: Collection[str] = (),
    heads: Mapping[str, int] | None = None,
    shared: bool = False,
    normed: bool = False,
    dtype: ir.DataType = FLOAT,
) -> ir.Model:
    """Two Linears of one activation, perhaps split into heads.

    `shared` looks up rows of the first one's matrix too; with `normed` the activation is the RMS norm of x.
    """
    x = value("x", dtype, *SEQUENCES, K)
    nodes, source, weights = _norm(x, normed)
    inputs, outputs = [x], []
    for name, size in SIZES.items():
        own = [weight(f"{name}.weight", size, K, dtype=dtype)]
        own += [weight(f"{name}.bias", size, dtype=dtype)] * (name in biased)
        weights += own
        nodes.append(semantic("Linear", [source, *own], name, [*SEQUENCES, size], dtype))
        if heads is not None:
            shape = ["batch", heads[name], "seq", size // heads[name]]
            nodes.append(semantic("SplitHeads", nodes[-1].outputs, f"{name}.heads", shape, dtype, heads=heads[name]))
        outputs.append(nodes[-1].outputs[0])
    if shared:
        inputs.append(value("ids", INT64, "batch", "seq"))
        nodes.append(lookup(weights[len(weights) - len(SIZES)], inputs[-1], "rows", [*SEQUENCES, K], dtype))
        outputs.append(nodes[-1].outputs[0])
    return model(inputs, nodes, outputs, weights)


def tied(
    rows: int,
    columns: int,
    ids: Axes = SEQUENCES,
    axes: Axes = SEQUENCES,
    biased: bool = False,
    dtype: ir.DataType = FLOAT,
    head_first: bool = False,
) -> ir.Model:
    """Rows of a table by id, and its product with x, as a head that shares it has."""
    table = weight("embedding.tokens.weight", rows, columns, dtype=dtype)
    biases = [weight("head.bias", rows, dtype=dtype)] * biased
    inputs = [value("ids", INT64, *ids), value("x", dtype, *axes, columns)]
    looked_up = lookup(table, inputs[0], "rows", [*ids, columns], dtype)
    head = semantic("Linear", [inputs[1], table, *biases], "logits", [*axes, rows], dtype)
    nodes = [head, looked_up] if head_first else [looked_up, head]
    return model(inputs, nodes, [looked_up.outputs[0], head.outputs[0]], [table, *biases])


def table_alone(rows: int, columns: int, ids: Axes = SEQUENCES, dtype: ir.DataType = FLOAT) -> ir.Model:
    """Rows of a table by id."""
    table, source = weight("embedding.tokens.weight", rows, columns, dtype=dtype), value("ids", INT64, *ids)
    node = lookup(table, source, "rows", [*ids, columns], dtype)
    return model([source], [node], node.outputs, [table])


def lookup(
    table: ir.Value, ids: ir.Value, name: str, shape: Axes, dtype: ir.DataType = FLOAT, axis: int = 0
) -> ir.Node:
    node = ir.Node("", "Gather", [table, ids], [ir.AttrInt64("axis", axis)], name=name)
    describe(node, name, shape, dtype)
    return node


def stack(count: int, rows: int, columns: int) -> ir.Model:
    """x [1, n, K] · each of a stack of matrices, as the experts of a mixture are."""
    x = value("x", FLOAT, 1, "n", columns)
    tensor = StackedWeight("experts.up", [f"experts.{i}.up" for i in range(count)], (count, rows, columns), FLOAT)
    matrices = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(FLOAT), const_value=tensor)
    linear = semantic("Linear", [x, matrices], "y", [count, "n", rows])
    return model([x], [linear], linear.outputs, [matrices])


def _norm(x: ir.Value, normed: bool) -> tuple[list[ir.Node], ir.Value, list[ir.Value]]:
    """The nodes in front of a product, their result, and their weights."""
    if not normed:
        return [], x, []
    assert x.shape is not None
    ones = constant("ones", np.ones(int(x.shape[-1]), np.float32))
    node = semantic("Norm", [x, ones], "normed", list(x.shape), kind="rms", epsilon=EPSILON, offset=0.0)
    return [node], node.outputs[0], [ones]


def lowered(graph_model: ir.Model, linear: Lowering, gather: Lowering | None = None) -> ir.Model:
    """The graph with its products lowered, with norms and heads in their standard form."""
    table = {"Linear": linear, "Norm": standard_norm, "SplitHeads": split_heads}
    Lower(table, {} if gather is None else {"Gather": gather})(graph_model)
    return graph_model


def expected(x: NDArray[np.float32], table: Tensor, bias: Tensor | None = None, normed: bool = False) -> np.ndarray:
    """The torch operators' result for `product`."""
    rows = torch.from_numpy(x)
    if normed:
        rows = ops.rms_norm(rows, torch.ones(rows.shape[-1]), EPSILON)
    result: np.ndarray = ops.linear(rows, table, bias).numpy()
    return result
