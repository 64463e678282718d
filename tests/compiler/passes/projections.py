"""Two products of one activation, with the numbers of their matrices."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import torch

from archc.compiler.passes.products.fold_weights import fold_weights
from archc.compiler.passes.products.quantize import quantize
from archc.compiler.passes.products.rows_as_stored import rows_as_stored
from archc.compiler.weights.lazy import WeightTensor, join_rows
from archc.compiler.weights.quantization import Bits
from tests.compiler.graphs import constant, model, value, weight

FLOAT = ir.DataType.FLOAT
DTYPES = {
    FLOAT: torch.float32, ir.DataType.UINT8: torch.uint8, ir.DataType.INT8: torch.int8,
}  # fmt: skip
K, SIZES = 96, {"q": 24, "k": 8}


def tables() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    made = {f"{name}.weight": torch.randn(size, K, generator=random) for name, size in SIZES.items()}
    made["q.weight"][2] = 0
    made["q.weight"][3, :32] = 0
    made["q.weight"][4, 40] = 9.0
    return made | {"q.bias": torch.arange(24.0), "k.bias": torch.arange(8.0) / 3}


def projections(
    bits: Bits | None, biased: Collection[str] = (), heads: bool = False, shared: bool = False, even: bool = False
) -> ir.Model:
    """Two products of one activation as builds for the CPU make them, perhaps cut into heads of eight.

    `shared` looks up rows of the first one's matrix as well; with `even` the activation comes from a norm.
    """
    x = value("x", FLOAT, "batch", "seq", K)
    inputs, nodes, outputs, weights, constants = [x], [], [], [], []
    if even:
        constants.append(constant("ones", np.ones(K, np.float32)))
        nodes.append(ir.Node("", "RMSNormalization", [x, constants[0]], name="norm"))
        x = nodes[0].outputs[0]
    for name, size in SIZES.items():
        table = weight(f"{name}.weight", size, K)
        turned = ir.Node("", "Transpose", [table], [ir.AttrInt64s("perm", [1, 0])], name=f"{name}.turn")
        product = ir.Node("", "MatMul", [x, turned.outputs[0]], name=f"{name}.product")
        nodes += [turned, product]
        weights.append(table)
        if name in biased:
            weights.append(weight(f"{name}.bias", size))
            nodes.append(ir.Node("", "Add", [product.outputs[0], weights[-1]], name=f"{name}.add"))
        shape = ["batch", "seq", size]
        if heads:
            constants.append(constant(f"{name}.sizes", np.array([0, 0, size // 8, -1])))
            nodes.append(ir.Node("", "Reshape", [nodes[-1].outputs[0], constants[-1]], name=f"{name}.cut"))
            perm = [ir.AttrInt64s("perm", [0, 2, 1, 3])]
            nodes.append(ir.Node("", "Transpose", [nodes[-1].outputs[0]], perm, name=f"{name}.heads"))
            shape = ["batch", size // 8, "seq", 8]
        outputs.append(nodes[-1].outputs[0])
        outputs[-1].type, outputs[-1].shape = ir.TensorType(FLOAT), ir.Shape(shape)
    if shared:
        inputs.append(value("ids", ir.DataType.INT64, "rows"))
        nodes.append(ir.Node("", "Gather", [weights[0], inputs[1]], name="look"))
        outputs.append(nodes[-1].outputs[0])
        outputs[-1].type = ir.TensorType(FLOAT)
    graph = model(inputs, nodes, outputs, [*weights, *constants])
    fold_weights(graph)
    (rows_as_stored if bits is None else quantize(bits))(graph)
    return graph


def filled(graph: ir.Model) -> ir.Model:
    """With the tables' numbers."""
    slots = tables()
    for item in graph.graph.initializers.values():
        if isinstance(item.const_value, WeightTensor):
            parts = item.const_value.in_parts()
            values = [(part, join_rows([slots[slot] for slot in part.slots])) for part in parts]
            data = torch.cat([rows for part, value in values for rows in part.blocks(value, DTYPES[item.dtype])])
            assert list(data.shape) == list(item.shape)
            item.const_value = ir.tensor(data.numpy(), name=item.name)
    return graph
