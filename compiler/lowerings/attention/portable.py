"""Attention by the standard operators: `Attention` with an explicit mask and scale, or its parts written out.

TensorRT's Attention has no softcap and no sinks, so attention with either is MatMul → Softmax → MatMul, with the query
heads of one key/value head as rows of one product.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import cast, dtype_of, fixed_size, required
from archc.compiler.lowerings.attention.caches import FloatCaches, mask_of
from archc.compiler.lowerings.attention.joint import joint_keys, joint_mask
from archc.compiler.lowerings.attention.latent import absorbed_query, absorbed_result, latent_of
from archc.compiler.lowerings.attention.masks import AdditiveMasks, lowest
from archc.compiler.lowerings.attention.products import softmax_with_sinks

CACHES = FloatCaches()


class StandardAttention:
    """Lowers `archc.Attention` and `archc.LatentAttention` to the standard operator; unless `fused`, to its parts."""

    def __init__(self, fused: bool = True) -> None:
        self.masks, self.fused = AdditiveMasks(), fused

    def attention(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build attention over a cache or over the call's own keys."""
        q, k, v = (required(value) for value in node.inputs[:3])
        bias, sinks = (node.inputs[index] if len(node.inputs) > index else None for index in (4, 5))
        scale, softcap = (node.attributes[name].as_float() for name in ("scale", "softcap"))
        keys, values = CACHES.live(op, node, k), CACHES.live(op, node, v)
        for live, cache in ((keys, k), (values, v)):
            _describe_live(live, cache)
        if softcap or sinks is not None or not self.fused:
            return written_out(op, q, keys, values, mask_of(node), bias, scale, softcap, sinks)
        mask = mask_of(node) if bias is None else self.masks.additive(op, mask_of(node), bias, dtype_of(bias))
        return self.standard(op, node, q, keys, values, mask, scale)

    def latent(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build the absorbed form: one key/value head, the stored latents, which serve as values too."""
        cache = required(node.inputs[2])
        stored = CACHES.live(op, node, cache)
        _describe_live(stored, cache)
        latent = latent_of(node, op)
        query = absorbed_query(op, latent)
        mask, scale, sinks = mask_of(node), latent.scale, latent.sinks
        # TensorRT's Attention needs values as wide as the keys; the rest of the result is cut off.
        mixed = (
            self.standard(op, node, query, stored, stored, mask, scale)
            if sinks is None
            else written_out(op, query, stored, stored, mask, None, scale, 0.0, sinks)
        )
        return absorbed_result(op, latent, mixed)

    def joint(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build attention to keys and to compressed keys, copied next to each other."""
        q, sinks = required(node.inputs[0]), node.inputs[5] if len(node.inputs) > 5 else None
        keys, mask, scale = joint_keys(op, node), joint_mask(op, node), node.attributes["scale"].as_float()
        if sinks is not None:
            return written_out(op, q, keys, keys, mask, None, scale, 0.0, sinks)
        return self.standard(op, node, q, keys, keys, mask, scale)

    def standard(
        self,
        op: GraphBuilder,
        node: ir.Node,
        q: ir.Value,
        k: ir.Value,
        v: ir.Value,
        mask: ir.Value,
        scale: float,
    ) -> ir.Value:
        """Build one Attention; its softmax is in float32."""
        if not self.fused:
            return written_out(op, q, k, v, mask, None, scale, 0.0, None)
        value: ir.Value = op.node("Attention", q, k, v, mask, scale=scale, is_causal=0, softmax_precision=1)
        return value


def _describe_live(live: ir.Value, cache: ir.Value) -> None:
    """Write type and shape on the live part of a cache."""
    if live is not cache and cache.shape is not None:
        live.type, live.shape = cache.type, ir.Shape([*cache.shape[:2], None, cache.shape[3]])


def written_out(
    op: GraphBuilder,
    q: ir.Value,
    k: ir.Value,
    v: ir.Value,
    mask: ir.Value,
    bias: ir.Value | None,
    scale: float,
    softcap: float,
    sinks: ir.Value | None,
) -> ir.Value:
    """Build softmax(cap(scale · q·kᵀ) + bias, where mask) · v with scores in float32."""
    heads, kv_heads, width = fixed_size(q, 1), fixed_size(k, 1), fixed_size(q, 3)
    wide = ir.DataType.FLOAT

    def reshape(x: ir.Value, *sizes: int) -> ir.Value:
        shaped: ir.Value = op.Reshape(x, op.ints(*sizes))
        return shaped

    rows = reshape(q, 0, kv_heads, -1, width)
    products = op.MatMul(rows, op.Transpose(k, perm=[0, 1, 3, 2]))
    products.type = q.type
    products = op.Mul(cast(op, products, wide), op.scalar(scale / softcap if softcap else scale, wide))
    if softcap:
        products = op.Mul(op.Tanh(products), op.scalar(softcap, wide))
    scores = reshape(products, 0, heads, -1, 0)
    if bias is not None:
        scores = op.Add(scores, cast(op, bias, wide))
    seen = op.Where(mask, scores, lowest(op, wide))
    weights = softmax_with_sinks(op, seen, sinks, heads, wide)
    weights.type = ir.TensorType(wide)
    weights = reshape(cast(op, weights, dtype_of(v)), 0, kv_heads, -1, 0)
    return reshape(op.MatMul(weights, v), 0, heads, -1, fixed_size(v, 3))
