"""How weights are read, which decides whether they can be stored in fewer bits; and what takes their place."""

from __future__ import annotations

import onnx_ir as ir

from compiler.weights import WeightTensor


def is_router(weight: WeightTensor) -> bool:
    """Whether a weight is a router's, whose few numbers choose what everything else is computed with."""
    return ".router." in weight.slot


def is_product(node: ir.Node, index: int) -> bool:
    """Whether a node multiplies rows by its input of that index."""
    return node.op_type == "MatMul" and index == 1


def is_shared_product(node: ir.Node, index: int) -> bool:
    """Whether a node multiplies rows by a table as it lies, which a look-up may read too."""
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    whole = node.op_type == "Gemm" and index == 1 and len(node.inputs) == 2
    return whole and given.get("transB") == 1 and {**plain, **given} == plain


def is_lookup(node: ir.Node, index: int) -> bool:
    """Whether a node looks up rows of its input of that index."""
    return node.op_type == "Gather" and index == 0 and node.attributes.get_int("axis", 0) == 0


def register(graph: ir.Graph, tensor: WeightTensor) -> ir.Value:
    """A new initializer of a graph."""
    value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def drop_unused(graph: ir.Graph) -> None:
    """Drops weights that no node reads any more."""
    for name, value in list(graph.initializers.items()):
        if isinstance(value.const_value, WeightTensor) and not value.uses():
            del graph.initializers[name]
