"""How weights are read, which decides whether they can be stored in fewer bits; and what takes their place."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.weights.lazy import Transposed, WeightTensor


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


def rows_of(weight: WeightTensor) -> WeightTensor | None:
    """A transposed matrix before it was transposed: a row for each output."""
    if len(weight.shape) != 2 or not weight.steps or not isinstance(weight.steps[-1], Transposed):
        return None
    shape = tuple(int(size) for size in weight.shape)[::-1]
    return WeightTensor(weight.slot, shape, weight.dtype, weight.steps[:-1])


def register(graph: ir.Graph, tensor: WeightTensor) -> ir.Value:
    """An initializer of a graph; of one name, which tells the bytes, there is one."""
    assert tensor.name is not None
    if tensor.name not in graph.initializers:
        value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[tensor.name]


def drop_unused(graph: ir.Graph) -> None:
    """Drops weights and constants that nothing reads any more."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
