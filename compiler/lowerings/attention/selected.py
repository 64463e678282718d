"""Attention to the keys that an indexer selects, in a call of few queries: the rows of these keys alone are read.

A mask hides the other keys, and costs as much as attention to all of them. A decoding step over a long cache takes the
indices of the selected keys instead and gathers their rows. A prompt keeps the mask, because each of its queries would
gather rows of its own. Both forms are under an If on the sizes of the call.

Shape suffixes: B batch, G groups of heads with a selection each, S queries, N selected keys, K key/value heads,
V heads of keys and values with rows of their own (the least common multiple of G and K), H query heads, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import fixed_size, required, shape_of
from archc.compiler.lowerings.attention.blocks import QueryBlocks, branch
from archc.compiler.lowerings.attention.caches import FloatCaches, mask_of
from archc.compiler.lowerings.attention.int8_caches import Int8Caches
from archc.compiler.lowerings.attention.masks import AdditiveMasks, lowest
from archc.compiler.lowerings.attention.products import Problem, grouped_attention
from archc.compiler.lowerings.attention.selection import (
    WIDE,
    block_scores,
    key_scores,
    mask_of_blocks,
    mask_of_keys,
    select_blocks,
    select_keys,
)

_SHARE = 2
"""Rows are gathered if the cache has at least so many times as many: a gathered row is written and read once more."""


@dataclass(frozen=True)
class Selected:
    """The keys that an indexer selected, for the mask that stands for them.

    If `few`, bool [1], is true, the mask is that of the selected keys [B, G, S, N], whose slots are `indices`
    [B, G, S, N]; otherwise it is that of all keys.
    """

    few: ir.Value
    indices: ir.Value
    groups: int
    count: int

    def heads(self, kv_heads: int) -> int:
        """Return the number of heads of keys and values that have rows of their own."""
        return math.lcm(self.groups, kv_heads)

    def rows(self, op: GraphBuilder, kv_heads: int, slots: ir.Value) -> ir.Value:
        """Return the rows [B, S, V, N] of caches [B, K, slots, D] that are seen as [B · K · slots, D]."""
        heads = self.heads(kv_heads)
        indices_BSGN = op.Transpose(self.indices, perm=[0, 2, 1, 3])
        if self.groups not in (1, heads):
            indices_BSGN = op.Gather(indices_BSGN, _each(op, self.groups, heads // self.groups), axis=2)
        sequences = op.Range(op.scalar(0), op.Squeeze(op.Shape(self.indices, start=0, end=1)), op.scalar(1))
        first = op.Mul(op.Reshape(sequences, op.ints(-1, 1, 1, 1)), op.ints(kv_heads))
        head = op.Reshape(_each(op, kv_heads, heads // kv_heads), op.ints(1, 1, -1, 1))
        rows: ir.Value = op.Add(op.Mul(op.Add(first, head), slots), indices_BSGN)
        return rows

    def attention(self, op: GraphBuilder, problem: Problem, count: ir.Value | None = None) -> ir.Value:
        """Build a problem whose keys and values are gathered rows [B · S, V, N, D]: every query is a sequence.

        `count`, int64 [1], is the number of rows, if there are others than the selected ones.
        """
        heads, width = problem.heads, problem.value_width
        own = replace(
            problem,
            operands=[(_by_query(op, q), keys) for q, keys in problem.operands],
            mask=self._mask_by_query(op, problem.mask, heads, op.ints(self.count) if count is None else count),
            kv_heads=self.heads(problem.kv_heads),
        )
        y_QH1D = grouped_attention(op, own)
        q = problem.operands[0][0]
        sizes = op.Concat(op.Shape(q, start=0, end=1), op.Shape(q, start=2, end=3), op.ints(heads, width), axis=0)
        y: ir.Value = op.Transpose(op.Reshape(y_QH1D, sizes), perm=[0, 2, 1, 3])
        return y

    def _mask_by_query(self, op: GraphBuilder, mask_BGSN: ir.Value, heads: int, count: ir.Value) -> ir.Value:
        mask = op.Transpose(mask_BGSN, perm=[0, 2, 1, 3])
        if self.groups > 1:
            mask = op.Gather(mask, _each(op, self.groups, heads // self.groups), axis=2)
        by_query: ir.Value = op.Reshape(mask, op.Concat(op.ints(-1, heads if self.groups > 1 else 1, 1), count, axis=0))
        by_query.type = mask_BGSN.type
        return by_query


def _each(op: GraphBuilder, count: int, times: int) -> ir.Value:
    """Return 0, …, count - 1, each so many times in a row."""
    return op.constant(np.repeat(np.arange(count, dtype=np.int64), times))


def _by_query(op: GraphBuilder, q_BHSD: ir.Value) -> ir.Value:
    heads, width = fixed_size(q_BHSD, 1), fixed_size(q_BHSD, 3)
    by_query: ir.Value = op.Reshape(op.Transpose(q_BHSD, perm=[0, 2, 1, 3]), op.ints(-1, heads, 1, width))
    by_query.type, by_query.shape = q_BHSD.type, ir.Shape([None, heads, 1, width])
    return by_query


_GATHERED = ("SelectKeys", "SelectBlocks")
"""The nodes whose selection is an input of attention as rows of the caches."""


class Selections:
    """Lowers the nodes of indexers over caches; `by_mask` has what the result of each stands for."""

    def __init__(self) -> None:
        self.by_mask: dict[ir.Value, Selected] = {}

    def __contains__(self, mask: object) -> bool:
        """Return whether a mask is that of selected keys, its node lowered or not."""
        assert isinstance(mask, ir.Value)
        if mask in self.by_mask:
            return True
        node = mask.producer()
        if node is None or node.domain != ARCHC or node.op_type not in _GATHERED:
            return False
        return bool(node.attributes["cached"].as_int())

    def keys(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Lower `archc.SelectKeys`."""
        if not node.attributes["cached"].as_int():
            return select_keys(node, op)
        scores, count = key_scores(op, node), node.attributes["keys"].as_int()
        few = _are_few(op, node, count)
        take, hide = op.nested("indices"), op.nested("mask")
        values, indices = take.TopK(scores, take.ints(count), outputs=2, axis=-1, sorted=0)
        mask = take.Greater(values, lowest(take, WIDE))
        return self._choose(
            op, node, Selected(few, indices, 1, count), (take, mask), (hide, mask_of_keys(hide, node, scores))
        )

    def blocks(self, node: ir.Node, op: GraphBuilder) -> ir.Value:
        """Lower `archc.SelectBlocks`."""
        if not node.attributes["cached"].as_int():
            return select_blocks(node, op)
        scores, end = block_scores(op, node), op.Shape(mask_of(node), start=3)
        block, blocks = (node.attributes[name].as_int() for name in ("block", "blocks"))
        groups, count = fixed_size(required(node.inputs[0]), 1), block * blocks
        few = _are_few(op, node, count)
        take, hide = op.nested("indices"), op.nested("mask")
        _, chosen = take.TopK(scores.blocks, take.ints(blocks), outputs=2, axis=-1, sorted=0)
        chosen = take.Unsqueeze(chosen, take.ints(4))
        values = take.GatherND(scores.keys, chosen, batch_dims=3)
        mask = take.Reshape(take.Greater(values, lowest(take, WIDE)), take.ints(0, groups, -1, count))
        places = take.Add(take.Mul(chosen, take.ints(block)), take.constant(np.arange(block)))
        # The last block may end after the last key.
        indices = take.Min(take.Reshape(places, take.ints(0, groups, -1, count)), take.Sub(end, take.ints(1)))
        return self._choose(
            op, node, Selected(few, indices, groups, count), (take, mask), (hide, mask_of_blocks(hide, node, scores))
        )

    def _choose(
        self,
        op: GraphBuilder,
        node: ir.Node,
        selected: Selected,
        taken: tuple[GraphBuilder, ir.Value],
        hidden: tuple[GraphBuilder, ir.Value],
    ) -> ir.Value:
        """Build the If on both forms of the mask, and record what it stands for."""
        (take, few_keys), (hide, all_keys) = taken, hidden
        none = hide.node("Constant", value=ir.tensor(np.zeros((1, 1, 1, 0), np.int64)))
        few_keys.type = all_keys.type = ir.TensorType(ir.DataType.BOOL)
        few_keys.shape = ir.Shape([None, selected.groups, None, selected.count])
        all_keys.shape = ir.Shape([None, *shape_of(node.outputs[0])[1:2], None, None])
        for indices in (selected.indices, none):
            indices.type, indices.shape = ir.TensorType(ir.DataType.INT64), ir.Shape([None] * 4)
        mask, indices = op.If(
            selected.few,
            then_branch=take.subgraph([few_keys, selected.indices]),
            else_branch=hide.subgraph([all_keys, none]),
            outputs=2,
        )
        self.by_mask[mask] = replace(selected, indices=indices)
        return mask


def _are_few(op: GraphBuilder, node: ir.Node, count: int) -> ir.Value:
    """Build 0 < B · S and 2 · S · N ≤ T, bool [1]."""
    q, mask = required(node.inputs[0]), mask_of(node)
    batch, queries, keys = op.Shape(q, start=0, end=1), op.Shape(q, start=2, end=3), op.Shape(mask, start=3)
    fit = op.GreaterOrEqual(keys, op.Mul(queries, op.ints(_SHARE * count)))
    few: ir.Value = op.And(fit, op.Greater(op.Mul(batch, queries), op.ints(0)))
    return few


@dataclass(frozen=True)
class CachedAttention:
    """The base of the lowerings of attention over caches; `selected` has the selections by their masks."""

    caches: FloatCaches | Int8Caches
    blocks: QueryBlocks
    masks: AdditiveMasks
    selected: Mapping[ir.Value, Selected] = field(default_factory=dict)

    def choose(
        self,
        op: GraphBuilder,
        node: ir.Node,
        over_rows: Callable[[GraphBuilder, Selected], ir.Value],
        over_all: Callable[[GraphBuilder], ir.Value],
    ) -> ir.Value:
        """Build attention over all keys; if an indexer selects among them, also over its rows, under an If."""
        selected, result = self.selected.get(mask_of(node)), node.outputs[0]
        if selected is None:
            return over_all(op)
        few, all_keys = op.nested("gathered"), op.nested("masked")
        chosen: ir.Value = op.If(
            selected.few,
            then_branch=branch(few, over_rows(few, selected), result),
            else_branch=branch(all_keys, over_all(all_keys), result),
        )
        return chosen
