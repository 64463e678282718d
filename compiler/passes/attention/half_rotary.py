"""Rotations of neighbouring dims as rotations of halves, in graphs that also repeat a body.

TensorRT's compiler (11, and 1.7 for RTX) fails with `ssa_validation` on a graph that holds both an interleaved
RotaryEmbedding and a loop; the same rotation of reordered dims builds. Graphs without a Scan keep the one node.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.nodes import Tape, take_over


def half_rotary(model: ir.Model) -> int:
    """Replaces every interleaved RotaryEmbedding where there is a Scan; returns how many there were."""
    graph = model.graph
    if not any(node.op_type == "Scan" for node in graph):
        return 0
    nodes = [node for node in graph if node.op_type == "RotaryEmbedding" and node.attributes.get_int("interleaved", 0)]
    for node in nodes:
        _replace(graph, node)
    return len(nodes)


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    x, cos, sin = node.inputs
    assert x is not None
    assert x.shape is not None
    width = x.shape[3]
    assert isinstance(width, int)
    rotated = node.attributes.get_int("rotary_embedding_dim", 0) or width
    op = Tape(graph, f"{node.name}.halves")
    rest = None
    if rotated != width:
        x, rest = op("Split", x, op.integers(rotated, width - rotated), outputs=2, axis=3)

    def reordered(value: ir.Value, rows: int, columns: int) -> ir.Value:
        """[…, rows · columns] with its dims as rows of columns, read by columns; a zero copies that axis."""
        grid = op("Transpose", op("Reshape", value, op.integers(0, 0, 0, rows, columns)), perm=[0, 1, 2, 4, 3])
        result: ir.Value = op("Reshape", grid, op.integers(0, 0, 0, rotated))
        return result

    turned = op("RotaryEmbedding", reordered(x, rotated // 2, 2), cos, sin, interleaved=0)
    y = reordered(turned, 2, rotated // 2)
    if rest is not None:
        y = op("Concat", y, rest, axis=3)
    graph.insert_before(node, op.nodes)
    take_over(node.outputs[0], y)
    graph.remove(node, safe=True)
