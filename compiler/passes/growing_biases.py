"""ALiBi biases of a graph whose caches grow: by the positions of keys, which columns are not where a row has padding.

A plan has a key at each position, so that a bias counts the slots of a mask: Range(size of the mask). In columns of an
attention mask, padding may be among the keys.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import port
from archc.compiler.graph.values import replace_value, shape_of
from archc.compiler.passes.growing_rows import Rows

_KEYS = 3  # axis of a mask


def use_positions(graph: ir.Graph, rows: Rows) -> None:
    """Let the biases [1, heads, 1, total] of a decoder be [batch, heads, 1, total]; call it before masks are built."""
    for node in list(graph):
        if node.op_type == "Range" and _is_of_mask(node):
            op = rows.op
            positions = op.Unsqueeze(rows.positions, op.ints(1, 2))
            positions.type = ir.TensorType(ir.DataType.INT64)
            positions.shape = ir.Shape(["batch", 1, 1, shape_of(rows.mask)[1]])
            old = node.outputs[0]
            ir.convenience.replace_all_uses_with(old, positions)
            graph.remove(node, safe=True)
            _follow(graph, positions)


def _is_of_mask(node: ir.Node) -> bool:
    """Return whether a Range counts the keys of a mask of the call."""
    size = node.inputs[1]
    while size is not None and (producer := size.producer()) is not None and producer.op_type == "Squeeze":
        size = producer.inputs[0]
    shape = size.producer() if size is not None else None
    start = shape.attributes.get("start") if shape is not None and shape.op_type == "Shape" else None
    if shape is None or start is None or start.as_int() != _KEYS:
        return False
    mask = shape.inputs[0]
    return mask is not None and port(mask).get("role") == "mask"


def _follow(graph: ir.Graph, steps: ir.Value) -> None:
    """Give the nodes between the positions and the bias the axes of the batch, which they now have."""
    for node in (use.node for use in list(steps.uses())):
        value = node.outputs[0]
        if node.op_type == "Unsqueeze":  # of slopes · steps [heads, 1, total]
            value.shape = shape_of(steps)
            replace_value(value, steps)
            graph.remove(node, safe=True)
            continue
        sizes = [size for other in node.inputs if other is not None and other is not steps for size in shape_of(other)]
        heads = sizes[0] if sizes and sizes[0] != 1 else shape_of(steps)[1]
        value.shape = ir.Shape([shape_of(steps)[0], heads, 1, shape_of(steps)[3]])
        _follow(graph, value)
