"""Projections of one activation into heads, queries, keys and values, as one product.

A step of decoding reads little for each, so that what it costs to start a kernel and its threads counts. The rows of
matrices lie one after another, and so may those of several matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, fixed_size, only_reader, take_over
from archc.compiler.weights.lazy import JoinedRows, WeightTensor
from archc.compiler.weights.quantization import ColumnValues
from archc.compiler.weights.uses import drop_unused, register

# Inputs that hold a row, a column or a number for each output.
_OUTPUTS = {"MatMulNBits": (1, 2, 5), "DynamicQuantizeMatMul": (1, 2, 4), "FusedMatMul": (1,)}


@dataclass(frozen=True)
class _Projection:
    """A product, the addition of a bias after it if it has none of its own, and the cut into heads at its end."""

    product: ir.Node
    addition: ir.Node | None
    bias: ir.Value | None
    cut: ir.Node

    @property
    def heads(self) -> int:
        """How many."""
        return fixed_size(self.cut.outputs[0], 1)

    @property
    def kind(self) -> tuple[object, ...]:
        """What must be the same of products that can be one."""
        given = {name: attribute.value for name, attribute in self.product.attributes.items() if name != "N"}
        places = tuple(place for place, _ in self.weights)
        width = fixed_size(self.cut.outputs[0], 3)
        return (self.product.inputs[0], self.product.op_type, places, width, *sorted(given.items()))

    @property
    def weights(self) -> list[tuple[int | None, ir.Value]]:
        """What is joined with the same of other products: the inputs' numbers, None for the bias after it."""
        inputs = self.product.inputs
        places = [i for i in _OUTPUTS[self.product.op_type] if i < len(inputs)]
        found: list[tuple[int | None, ir.Value]] = [(i, value) for i in places if (value := inputs[i]) is not None]
        return found if self.bias is None else [*found, (None, self.bias)]


def join_products(model: ir.Model) -> int:
    """Joins products with weights that read one activation and whose results are cut into heads; returns how many."""
    graph = model.graph
    groups: dict[tuple[object, ...], list[_Projection]] = {}
    for node in graph:
        found = _projection(node) if node.op_type in _OUTPUTS else None
        if found is not None:
            groups.setdefault(found.kind, []).append(found)
    joined = [group for group in groups.values() if len(group) > 1]
    # A weight that something else reads would be stored twice.
    products = {part for group in joined for found in group for part in (found.product, found.addition)}
    joined = [group for group in joined if all(_readers(found) <= products for found in group)]
    for group in joined:
        _join(graph, group)
    drop_unused(graph)
    return sum(map(len, joined))


def _projection(product: ir.Node) -> _Projection | None:
    after = only_reader(product.outputs[0])
    addition = bias = None
    if after is not None and after.op_type == "Add":
        addition = after
        bias = next((value for value in after.inputs if value is not None and value is not product.outputs[0]), None)
        after = only_reader(addition.outputs[0])
    cut = only_reader(after.outputs[0]) if after is not None and after.op_type == "Reshape" else None
    if cut is None or cut.op_type != "Transpose" or list(cut.attributes["perm"].as_ints()) != [0, 2, 1, 3]:
        return None
    shape = cut.outputs[0].shape
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int) or not isinstance(shape[3], int):
        return None
    found = _Projection(product, addition, bias, cut)
    if bias is not None and (bias.shape is None or len(bias.shape) != 1):
        return None
    weights = [value.const_value for _, value in found.weights]
    return found if all(isinstance(weight, WeightTensor) and not weight.steps for weight in weights) else None


def _readers(found: _Projection) -> set[ir.Node | None]:
    return {use.node for _, value in found.weights for use in value.uses()}


def _join(graph: ir.Graph, group: Sequence[_Projection]) -> None:
    first = group[0].product
    inputs = list(first.inputs)
    bias = None
    for (place, _), values in zip(group[0].weights, zip(*(found.weights for found in group), strict=True), strict=True):
        weight = register(graph, _joined([_tensor(value) for _, value in values]))
        if place is None:
            bias = weight
        else:
            inputs[place] = weight

    op = Tape(graph, f"{first.name}.joined")
    attributes = {name: attribute.value for name, attribute in first.attributes.items()}
    if "N" in attributes:
        attributes["N"] = sum(found.product.attributes["N"].as_int() for found in group)
    rows = op(first.op_type, *inputs, domain=first.domain, **attributes)
    op.nodes[-1].metadata_props.update(first.metadata_props)
    if bias is not None:
        rows = op("Add", rows, bias)
    heads = [found.heads for found in group]
    turned = op("Transpose", op("Reshape", rows, op.integers(0, 0, sum(heads), -1)), perm=[0, 2, 1, 3])
    parts = op("Split", turned, op.integers(*heads), outputs=len(heads), axis=1)
    graph.insert_before(first, op.nodes)
    for found, part in zip(group, parts, strict=True):
        take_over(found.cut.outputs[0], part)
        reshape = found.cut.predecessors()
        added = [] if found.addition is None else [found.addition]
        graph.remove([found.cut, *reshape, *added, found.product], safe=True)


def _joined(weights: Sequence[WeightTensor]) -> WeightTensor:
    columns = [weight.weight for weight in weights if isinstance(weight, ColumnValues)]
    return ColumnValues(JoinedRows(columns)) if columns else JoinedRows(weights)


def _tensor(value: ir.Value) -> WeightTensor:
    assert isinstance(value.const_value, WeightTensor)
    return value.const_value
