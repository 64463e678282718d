"""Lowering of `archc.JointAttention` for ONNX Runtime's CPU provider: one softmax over keys and compressed keys.

Both kinds of keys are copied next to each other. If an indexer selects among the compressed ones, a call of few queries
copies the rows of the selected ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import fixed_size, required
from archc.compiler.lowerings.attention.blocks import QueryBlocks, branch
from archc.compiler.lowerings.attention.caches import SLOTS, gather_rows, live_slots, mask_of
from archc.compiler.lowerings.attention.masks import AdditiveMasks
from archc.compiler.lowerings.attention.operands import FloatKeys, FloatValues
from archc.compiler.lowerings.attention.products import Problem, grouped_attention
from archc.compiler.lowerings.attention.selected import Selected

_COMPRESSED, _BLOCKS, _SINKS = 3, 4, 5
"""The places of inputs after queries, keys and their mask."""
_WIDE = ir.DataType.FLOAT


@dataclass(frozen=True)
class JointAttention:
    """Lowers `archc.JointAttention`; attention of many queries runs in blocks of them, of few ones over selected keys.

    `selected` has the selections of compressed keys by their masks.
    """

    blocks: QueryBlocks
    masks: AdditiveMasks
    selected: Mapping[ir.Value, Selected] = field(default_factory=dict)

    def __call__(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build the products of one attention over both kinds of keys."""
        result, selected = node.outputs[0], self.selected.get(required(node.inputs[_BLOCKS]))
        if selected is None:
            return self._over_all(op, node)
        few, all_keys = op.nested("gathered"), op.nested("masked")
        chosen: ir.Value = op.If(
            selected.few,
            then_branch=branch(few, self._over_rows(few, node, selected), result),
            else_branch=branch(all_keys, self._over_all(all_keys, node), result),
        )
        return chosen

    def _over_all(self, op: GraphBuilder, node: ir.Node) -> ir.Value:
        mask = joint_mask(op, node)
        problem = self._problem(op, node, joint_keys(op, node), mask)
        return self.blocks.build(op, mask, node.outputs[0], problem, grouped_attention)

    def _over_rows(self, op: GraphBuilder, node: ir.Node, selected: Selected) -> ir.Value:
        """Build attention of each query to the window, of which it has a copy, and to the rows of its own keys."""
        q, compressed = required(node.inputs[0]), required(node.inputs[_COMPRESSED])
        kv_heads, width = fixed_size(compressed, 1), fixed_size(compressed, 3)
        slots = op.Shape(compressed, start=SLOTS, end=SLOTS + 1)
        rows = gather_rows(op, compressed, selected.rows(op, kv_heads, slots))
        window = live_slots(op, node, required(node.inputs[1]), SLOTS)
        batch, queries, live = op.Shape(q, end=1), op.Shape(q, start=2, end=3), op.Shape(window, start=1)
        copies = op.Expand(op.Unsqueeze(window, op.ints(1)), op.Concat(batch, queries, live, axis=0))
        by_query = op.Reshape(copies, op.Concat(op.Mul(batch, queries), live, axis=0), allowzero=1)
        keys = op.Concat(by_query, rows, axis=SLOTS)
        keys.type, keys.shape = compressed.type, ir.Shape([None, kv_heads, None, width])
        mask = joint_mask(op, node)
        return selected.attention(op, self._problem(op, node, keys, mask), op.Shape(mask, start=3))

    def _problem(self, op: GraphBuilder, node: ir.Node, keys: ir.Value, mask: ir.Value) -> Problem:
        q, sinks = required(node.inputs[0]), node.inputs[_SINKS] if len(node.inputs) > _SINKS else None
        return Problem(
            operands=[(q, FloatKeys(keys))],
            values=FloatValues(keys),
            mask=self.masks.additive(op, mask, None, _WIDE),
            heads=fixed_size(q, 1),
            kv_heads=fixed_size(keys, 1),
            value_width=fixed_size(keys, 3),
            scale=node.attributes["scale"].as_float(),
            sinks=sinks,
        )


def joint_keys(op: GraphBuilder, node: ir.Node) -> ir.Value:
    """Build the live keys and the compressed keys that the masks cover, [B, K, T + N, D]."""
    compressed, blocks = required(node.inputs[_COMPRESSED]), required(node.inputs[_BLOCKS])
    window = live_slots(op, node, required(node.inputs[1]), SLOTS)
    whole = op.Slice(compressed, op.ints(0), op.Shape(blocks, start=3), op.ints(SLOTS))
    keys: ir.Value = op.Concat(window, whole, axis=SLOTS)
    keys.type = compressed.type
    keys.shape = ir.Shape([None, fixed_size(compressed, 1), None, fixed_size(compressed, 3)])
    return keys


def joint_mask(op: GraphBuilder, node: ir.Node) -> ir.Value:
    """Build the mask of both kinds of keys, bool [B, 1, S, T + N]."""
    both: ir.Value = op.Concat(mask_of(node), required(node.inputs[_BLOCKS]), axis=3)
    both.type, both.shape = ir.TensorType(ir.DataType.BOOL), ir.Shape([None, 1, None, None])
    return both
