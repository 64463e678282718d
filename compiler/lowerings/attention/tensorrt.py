"""Attention and rotary positions in the forms that TensorRT builds.

Its Attention refuses an attribute that sets the softmax's precision (it is always float32), fuses head sizes that are
multiples of 8 from 16 to 256, builds larger ones from primitive layers, fails on most others, and needs values as wide
as the keys. TensorRT for RTX 1.7 crashes on a loop that follows an Attention, and its compiler fails with
`ssa_validation` on a graph that holds both an interleaved RotaryEmbedding and a loop. It fails with `ir_verifier` on
latent attention without a rotated part that reads an earlier layer's selection of keys, a boolean mask.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, dtype_of, fixed_size, required
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.portable import StandardAttention

_STEP, _LEAST = 8, 16


class TensorRtAttention(StandardAttention):
    """Lowers attention to padded Attention nodes, or to MatMul and Softmax in graphs that repeat a body."""

    def __init__(self) -> None:
        super().__init__()
        self._added = AdditiveMasks()

    def standard(
        self, op: GraphBuilder, node: ir.Node, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value, scale: float
    ) -> ir.Value:
        """Build one attention; columns that only pad are cut off again."""
        if has_loop(op.graph):
            return self._primitive(op, q, k, v, mask, scale)
        width, value_width = fixed_size(k, 3), fixed_size(v, 3)
        wide = max(_LEAST, -(-max(width, value_width) // _STEP) * _STEP)
        padded = [_pad(op, value, wide) for value in (q, k, v)]
        y: ir.Value = op.node("Attention", *padded, mask, scale=scale, is_causal=0)
        if value_width != wide:
            y = op.Slice(y, op.ints(0), op.ints(value_width), op.ints(3))
        return y

    def _primitive(
        self, op: GraphBuilder, q: ir.Value, k: ir.Value, v: ir.Value, mask: ir.Value, scale: float
    ) -> ir.Value:
        """Build MatMul → Softmax → MatMul with keys repeated for the query heads, which TensorRT fuses in 16 bits."""
        narrow, wide = dtype_of(q), ir.DataType.FLOAT
        repeats = fixed_size(q, 1) // fixed_size(k, 1)
        k_transposed = op.Transpose(_repeated(op, k, repeats), perm=[0, 1, 3, 2])
        scores = op.MatMul(op.Mul(q, op.scalar(scale, narrow)), k_transposed)
        scores.type = q.type
        if dtype_of(mask) == ir.DataType.BOOL:
            mask = self._added.additive(op, mask, None, wide)
        else:
            mask = cast(op, mask, wide)
        weights = op.Softmax(op.Add(cast(op, scores, wide), mask), axis=-1)
        weights.type = ir.TensorType(wide)
        y: ir.Value = op.MatMul(cast(op, weights, narrow), _repeated(op, v, repeats))
        return y


def has_loop(graph: ir.Graph) -> bool:
    """Return whether a graph repeats a body."""
    return any(node.op_type == "Scan" for node in graph)


def _pad(op: GraphBuilder, value: ir.Value, wide: int) -> ir.Value:
    """Return a value with zeros after the columns of its last axis: they add nothing to a score."""
    missing = wide - fixed_size(value, 3)
    if not missing:
        return value
    padded: ir.Value = op.Pad(value, op.ints(0, missing), None, op.ints(-1))
    return padded


def _repeated(op: GraphBuilder, value: ir.Value, times: int) -> ir.Value:
    """Return each head of [B, K, T, D] so many times in a row."""
    if times == 1:
        return value
    spread = op.Expand(op.Unsqueeze(value, op.ints(2)), op.ints(1, 1, times, 1, 1))
    # A zero copies that axis, −1 is what remains.
    heads: ir.Value = op.Reshape(spread, op.ints(0, times * fixed_size(value, 1), -1, fixed_size(value, 3)))
    return heads


def rotary(node: ir.Node, op: GraphBuilder) -> ir.Value | None:
    """Lower an interleaved rotation to one of reordered dims by halves, in graphs that repeat a body."""
    if not node.attributes.get_int("interleaved", 0) or not has_loop(op.graph):
        return None
    x, cos, sin = map(required, node.inputs)
    width = fixed_size(x, 3)
    rotated = node.attributes.get_int("rotary_embedding_dim", 0) or width
    rest = None
    if rotated != width:
        x, rest = op.Split(x, op.ints(rotated, width - rotated), outputs=2, axis=3)

    def reordered(value: ir.Value, rows: int, columns: int) -> ir.Value:
        """Return […, rows · columns] with its dims as rows of columns, read by columns; a zero copies that axis."""
        grid = op.Transpose(op.Reshape(value, op.ints(0, 0, 0, rows, columns)), perm=[0, 1, 2, 4, 3])
        result: ir.Value = op.Reshape(grid, op.ints(0, 0, 0, rotated))
        return result

    y = reordered(op.RotaryEmbedding(reordered(x, rotated // 2, 2), cos, sin, interleaved=0), 2, rotated // 2)
    return y if rest is None else op.Concat(y, rest, axis=3)
