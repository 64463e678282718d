"""Projections of one activation into heads, queries, keys and values, as one product.

A step of decoding reads little for each, so that what it costs to start a kernel and its threads counts. The rows of
matrices in blocks lie one after another, and so may those of several matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compiler.passes.nodes import Tape
from compiler.passes.weight_uses import drop_unused, register
from compiler.weights import JoinedRows, WeightTensor

_SIZES = ("K", "bits", "block_size", "accuracy_level")


def join_products(model: ir.Model) -> int:
    """Joins MatMulNBits nodes that read one activation and whose results are cut into heads; returns how many."""
    graph = model.graph
    groups: dict[tuple[object, ...], list[tuple[ir.Node, ir.Node]]] = {}
    for node in graph:
        cut = _cut_into_heads(node) if node.op_type == "MatMulNBits" else None
        if cut is not None and cut.outputs[0].shape is not None:
            sizes = [node.attributes[name].as_int() for name in _SIZES]
            kind = (node.inputs[0], len(node.inputs), cut.outputs[0].shape[3], *sizes)
            groups.setdefault(kind, []).append((node, cut))
    joined = [found for found in groups.values() if len(found) > 1]
    for found in joined:
        _join(graph, [product for product, _ in found], [cut for _, cut in found])
    drop_unused(graph)
    return sum(map(len, joined))


def _cut_into_heads(product: ir.Node) -> ir.Node | None:
    """The Transpose that makes [B, heads, S, width] of a product's [B, S, heads · width], if nothing else reads it."""
    node = product
    for op_type in ("Reshape", "Transpose"):
        uses = list(node.outputs[0].uses())
        if len(uses) != 1 or uses[0].node.op_type != op_type or node.outputs[0].is_graph_output():
            return None
        node = uses[0].node
    shape = node.outputs[0].shape
    known = shape is not None and len(shape) == 4 and isinstance(shape[1], int) and isinstance(shape[3], int)
    return node if known and list(node.attributes["perm"].as_ints()) == [0, 2, 1, 3] else None


def _join(graph: ir.Graph, products: Sequence[ir.Node], cuts: Sequence[ir.Node]) -> None:
    first = products[0]
    inputs = [first.inputs[0], *(_joined(graph, [product.inputs[i] for product in products]) for i in (1, 2))]
    if len(first.inputs) > 3:
        inputs += [None, None, _joined(graph, [product.inputs[5] for product in products])]

    op = Tape(graph, f"{first.name}.joined")
    sizes = {name: first.attributes[name].as_int() for name in _SIZES}
    outputs = sum(product.attributes["N"].as_int() for product in products)
    rows = op("MatMulNBits", *inputs, domain=first.domain, N=outputs, **sizes)
    op.nodes[-1].metadata_props.update(first.metadata_props)
    heads = [int(cut.outputs[0].shape[1]) for cut in cuts if cut.outputs[0].shape is not None]
    turned = op("Transpose", op("Reshape", rows, op.integers(0, 0, sum(heads), -1)), perm=[0, 2, 1, 3])
    parts = op("Split", turned, op.integers(*heads), outputs=len(heads), axis=1)
    graph.insert_before(first, op.nodes)
    for product, cut, part in zip(products, cuts, parts, strict=True):
        old = cut.outputs[0]
        part.shape, part.type = old.shape, old.type
        ir.convenience.replace_all_uses_with(old, part, replace_graph_outputs=True)
        part.name, old.name = old.name, None
        graph.remove([cut, *cut.predecessors(), product], safe=True)


def _joined(graph: ir.Graph, values: Sequence[ir.Value | None]) -> ir.Value:
    weights = [value.const_value for value in values if value is not None]
    assert all(isinstance(weight, WeightTensor) for weight in weights)
    return register(graph, JoinedRows([weight for weight in weights if isinstance(weight, WeightTensor)]))
