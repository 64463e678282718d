"""Lowering of `archc.Attention` for ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import dtype_of, fixed_size, required
from archc.compiler.lowerings.attention.caches import mask_of
from archc.compiler.lowerings.attention.operands import FloatKeys, FloatValues, Keys, Values
from archc.compiler.lowerings.attention.products import Problem, grouped_attention
from archc.compiler.lowerings.attention.selected import CachedAttention, Selected


class GroupedAttention(CachedAttention):
    """Lowers `archc.Attention`; attention of many queries runs in blocks of them, of few ones over selected keys."""

    def __call__(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build the products of one attention over its caches."""
        mask, result = mask_of(node), node.outputs[0]
        problem = self._problem(node, op)

        def over_all(inner: GraphBuilder) -> ir.Value:
            whole = problem(self.caches.keys(inner, node), self.caches.values(inner, node))
            return self.blocks.build(inner, mask, result, whole, grouped_attention, outer=op)

        def over_rows(inner: GraphBuilder, selected: Selected) -> ir.Value:
            assert len(node.inputs) < 5 or node.inputs[4] is None, "a bias on the scores of selected keys"
            key, value = (required(item) for item in node.inputs[1:3])
            rows = selected.rows(inner, fixed_size(key, 1), self.caches.slots(inner, key))
            keys, values = (self.caches.gathered(inner, cache, rows) for cache in (key, value))
            return selected.attention(inner, problem(FloatKeys(keys), FloatValues(values)))

        return self.choose(op, node, over_rows, over_all)

    def _problem(self, node: ir.Node, op: GraphBuilder) -> Callable[[Keys, Values], Problem]:
        """Return the function that makes the problem of a node from keys and values."""
        q, mask = required(node.inputs[0]), mask_of(node)
        bias, sinks = (node.inputs[index] if len(node.inputs) > index else None for index in (4, 5))
        softcap = node.attributes["softcap"].as_float()
        # Capped scores and sinks are computed in float32, like the softmax of the standard operator.
        dtype = ir.DataType.FLOAT if softcap or sinks is not None else dtype_of(q)
        additive = self.masks.additive(op, mask, bias, dtype)
        return lambda keys, values: Problem(
            operands=[(q, keys)],
            values=values,
            mask=additive,
            heads=fixed_size(q, 1),
            kv_heads=fixed_size(required(node.inputs[1]), 1),
            value_width=fixed_size(required(node.inputs[2]), 3),
            scale=node.attributes["scale"].as_float(),
            softcap=softcap,
            sinks=sinks,
        )
