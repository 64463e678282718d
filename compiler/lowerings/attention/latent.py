"""Latent attention: absorbed, or in the form that costs less for the call (DeepSeek-V2 2024, section 2.1).

Absorbed, every query head works on the latents themselves: k_up is applied to the queries and v_up to the result, so
that a decoding step reads the cache and nothing else. Expanded, the latents become the keys and values of every head
first, which are narrower than a latent: that is cheaper where many queries share them, as in a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import dtype_of, fixed_size, required, shape_of
from archc.compiler.lowerings.attention.blocks import branch
from archc.compiler.lowerings.attention.caches import mask_of
from archc.compiler.lowerings.attention.operands import FloatKeys, FloatValues
from archc.compiler.lowerings.attention.products import Problem, grouped_attention
from archc.compiler.lowerings.attention.selected import CachedAttention, Selected
from archc.compiler.weights.lazy import WeightTensor
from archc.compiler.weights.steps import Transpose, Unflatten


@dataclass(frozen=True)
class Latent:
    """The operands of an `archc.LatentAttention` node next to what is stored: queries [B, H, S, N] and their rotated
    part [B, H, S, R] if R is not 0, k_up [H, N, L], v_up [H, L, V] and sinks [H].
    """

    query: ir.Value
    rotated: ir.Value | None
    k_up: ir.Value
    v_up: ir.Value
    scale: float
    sinks: ir.Value | None

    @property
    def heads(self) -> int:
        """The number of query heads."""
        return fixed_size(self.k_up, 0)

    @property
    def width(self) -> int:
        """The width of a latent."""
        return fixed_size(self.k_up, 2)

    @property
    def stored(self) -> int:
        """The width of what is stored of a token."""
        return self.width + (fixed_size(self.rotated, 3) if self.rotated is not None else 0)


def latent_of(node: ir.Node, op: GraphBuilder) -> Latent:
    """Return the operands of a node, with its weights cut into heads."""
    query, k_up, v_up = (required(node.inputs[index]) for index in (0, 3, 4))
    heads = fixed_size(query, 1)
    return Latent(
        query,
        node.inputs[1],
        _by_head(op, k_up, heads, transposed=False),
        _by_head(op, v_up, heads, transposed=True),
        node.attributes["scale"].as_float(),
        node.inputs[6] if len(node.inputs) > 6 else None,
    )


def _by_head(op: GraphBuilder, weight: ir.Value, heads: int, transposed: bool) -> ir.Value:
    """Return a matrix [H · M, L] as [H, M, L], or as [H, L, M] if `transposed`."""
    tensor = weight.const_value
    if isinstance(tensor, WeightTensor):
        stacked = tensor.then(Unflatten(heads))
        return op.initializer(stacked.then(Transpose()) if transposed else stacked)
    rows, width = fixed_size(weight, 0) // heads, fixed_size(weight, 1)
    value: ir.Value = op.Reshape(weight, op.ints(heads, rows, width))
    value.type, value.shape = weight.type, ir.Shape([heads, rows, width])
    if transposed:
        value = op.Transpose(value, perm=[0, 2, 1])
        value.type, value.shape = weight.type, ir.Shape([heads, width, rows])
    return value


def absorbed_query(op: GraphBuilder, latent: Latent) -> ir.Value:
    """Build the query of the absorbed form, [B, H, S, L + R]: k_up applied to the query, and the rotated part."""
    query: ir.Value = op.MatMul(latent.query, latent.k_up)
    if latent.rotated is not None:
        query = op.Concat(query, latent.rotated, axis=-1)
    assert latent.query.shape is not None
    query.type = latent.query.type
    query.shape = ir.Shape([*latent.query.shape[:3], latent.stored])
    return query


def absorbed_result(op: GraphBuilder, latent: Latent, mixed: ir.Value) -> ir.Value:
    """Apply v_up to the weighted sums of what is stored, [B, H, S, L + R] → [B, H, S, V]."""
    if latent.rotated is not None:
        mixed = op.Slice(mixed, op.ints(0), op.ints(latent.width), op.ints(3))
    result: ir.Value = op.MatMul(mixed, latent.v_up)
    return result


class GroupedLatentAttention(CachedAttention):
    """Lowers `archc.LatentAttention` for ONNX Runtime's CPU provider: an If on the call's lengths with both forms."""

    def __call__(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Build both forms over one cache, and over selected rows of it the absorbed one; all read the same weights."""
        cache, mask, result = required(node.inputs[2]), mask_of(node), node.outputs[0]
        latent = latent_of(node, op)
        # Sinks are computed in float32, like the softmax of the standard operator.
        dtype = ir.DataType.FLOAT if latent.sinks is not None else dtype_of(latent.query)
        additive = self.masks.additive(op, mask, None, dtype)

        def over_all(inner: GraphBuilder) -> ir.Value:
            whole = self.caches.live(inner, node, cache)
            expanded, absorbed = inner.nested("expanded"), inner.nested("absorbed")
            wide = self.blocks.build(
                expanded, mask, result, _expanded(expanded, latent, whole, additive), grouped_attention, outer=op
            )
            narrow = self._absorbed(absorbed, op, latent, whole, mask, additive, result)
            chosen: ir.Value = inner.If(
                _expanding_is_cheaper(inner, mask, latent),
                then_branch=branch(expanded, wide, result),
                else_branch=branch(absorbed, narrow, result),
            )
            return chosen

        def over_rows(inner: GraphBuilder, selected: Selected) -> ir.Value:
            rows = selected.rows(inner, 1, self.caches.slots(inner, cache))
            stored = self.caches.gathered(inner, cache, rows)
            problem = absorbed_problem(absorbed_query(inner, latent), latent, stored, additive)
            return absorbed_result(inner, latent, selected.attention(inner, problem))

        return self.choose(op, node, over_rows, over_all)

    def _absorbed(
        self,
        op: GraphBuilder,
        outer: GraphBuilder,
        latent: Latent,
        stored: ir.Value,
        mask: ir.Value,
        additive: ir.Value,
        result: ir.Value,
    ) -> ir.Value:
        """Build attention of all heads over one key/value head, the stored latents."""
        query = absorbed_query(op, latent)
        problem = absorbed_problem(query, latent, stored, additive)
        like = ir.Value(type=result.type, shape=ir.Shape([*shape_of(result)[:3], problem.value_width]))
        mixed = self.blocks.build(op, mask, like, problem, grouped_attention, outer=outer)
        return absorbed_result(op, latent, mixed)


def absorbed_problem(query: ir.Value, latent: Latent, stored: ir.Value, additive: ir.Value) -> Problem:
    """Return attention of an absorbed query over one key/value head, latents and rotated keys [B, 1, T, L + R]."""
    return Problem(
        operands=[(query, FloatKeys(stored))],
        values=FloatValues(stored),
        mask=additive,
        heads=latent.heads,
        kv_heads=1,
        value_width=fixed_size(query, 3),
        scale=latent.scale,
        sinks=latent.sinks,
    )


def _expanding_is_cheaper(op: GraphBuilder, mask: ir.Value, latent: Latent) -> ir.Value:
    """Build T · c < S · c + S · T · d, bool [1].

    c multiplications make one token's keys and values, or apply k_up and v_up to one query, in all heads; d is how many
    more a pair of query and key takes in the absorbed form.
    """
    heads, nope, width = (fixed_size(latent.k_up, axis) for axis in range(3))
    value = fixed_size(latent.v_up, 2)
    once = op.ints(heads * width * (nope + value))
    a_pair = op.ints(heads * (2 * width - nope - value))
    queries, keys = op.Shape(mask, start=2, end=3), op.Shape(mask, start=3, end=4)
    extra = op.Mul(op.Sub(keys, queries), once)
    cheaper: ir.Value = op.Less(extra, op.Mul(op.Mul(queries, keys), a_pair))
    return cheaper


def _expanded(op: GraphBuilder, latent: Latent, stored: ir.Value, additive: ir.Value) -> Problem:
    """Build keys and values of all heads: scores are scale · (q · (k_up · latentᵀ) + q_rotated · k_rotatedᵀ)."""
    latents, rotated = stored, []
    if latent.rotated is not None:
        axis, width = op.ints(3), latent.width
        latents = op.Slice(stored, op.ints(0), op.ints(width), axis)
        shared = op.Slice(stored, op.ints(width), op.ints(latent.stored), axis)
        rotated.append((latent.rotated, FloatKeys(shared)))
    # Keys are built transposed, as the scores read them, so that both forms read k_up as it is stored.
    keys = op.MatMul(latent.k_up, op.Transpose(latents, perm=[0, 1, 3, 2]))
    return Problem(
        operands=[(latent.query, FloatKeys(keys, transposed=True)), *rotated],
        values=FloatValues(op.MatMul(latents, latent.v_up)),
        mask=additive,
        heads=latent.heads,
        kv_heads=latent.heads,
        value_width=fixed_size(latent.v_up, 2),
        scale=latent.scale,
        sinks=latent.sinks,
    )
