"""Attention from MatMul and Softmax, in graphs that also repeat a body.

TensorRT for RTX 1.7 crashes on a loop that stands after an Attention, whatever the two compute and whether or not one
reads the other. It knows this form for what it is, and in 16 bits fuses it as well (by its own account of its memory),
where keys are repeated for the query heads; with those as rows of one product it keeps every score.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, fixed_size, take_over


def primitive_attention(model: ir.Model) -> int:
    """Replaces every Attention where there is a Scan; returns how many there were."""
    graph = model.graph
    if not any(node.op_type == "Scan" for node in graph):
        return 0
    nodes = [node for node in graph if node.op_type == "Attention" and not node.domain]
    added: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        _replace(graph, node, added)
    return len(nodes)


def _replace(graph: ir.Graph, node: ir.Node, added: dict[ir.Value, ir.Value]) -> None:
    """`added` has the masks that were made for others."""
    query, keys, values, mask = node.inputs[:4]
    assert query is not None
    assert query.dtype is not None
    assert keys is not None
    assert values is not None
    assert mask is not None
    op = Tape(graph, f"{node.name}.primitive")
    repeats = fixed_size(query, 1) // fixed_size(keys, 1)
    scale = op.constant(np.array(node.attributes["scale"].as_float(), query.dtype.numpy()))
    turned = op("Transpose", _repeated(op, keys, repeats), perm=[0, 1, 3, 2])
    scores = _cast(op, op("MatMul", op("Mul", query, scale), turned), query.dtype, ir.DataType.FLOAT)
    if mask not in added:
        added[mask] = _numbers(op, mask)
    weights = _cast(op, op("Softmax", op("Add", scores, added[mask]), axis=-1), ir.DataType.FLOAT, query.dtype)
    y = op("MatMul", weights, _repeated(op, values, repeats))
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)


def _numbers(op: Tape, mask: ir.Value) -> ir.Value:
    """What a mask adds to scores in float32: for booleans the lowest number where a key is not seen, and not −∞, for a
    row that sees nothing stays a number."""
    assert mask.dtype is not None
    if mask.dtype != ir.DataType.BOOL:
        return _cast(op, mask, mask.dtype, ir.DataType.FLOAT)
    zero, lowest = (op.constant(np.array(number, np.float32)) for number in (0, np.finfo(np.float32).min))
    result: ir.Value = op("Where", mask, zero, lowest)
    return result


def _repeated(op: Tape, value: ir.Value, times: int) -> ir.Value:
    """Each head of [B, K, T, D] so many times in a row."""
    if times == 1:
        return value
    spread = op("Expand", op("Unsqueeze", value, op.integers(2)), op.integers(1, 1, times, 1, 1))
    # A zero copies that axis, −1 is what remains.
    result: ir.Value = op("Reshape", spread, op.integers(0, times * fixed_size(value, 1), -1, fixed_size(value, 3)))
    return result


def _cast(op: Tape, value: ir.Value, given: ir.DataType, wanted: ir.DataType) -> ir.Value:
    return value if given == wanted else op("Cast", value, to=wanted)
