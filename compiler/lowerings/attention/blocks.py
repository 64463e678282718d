"""Attention of many queries, a block of them at a time, over the keys that some query of the block attends to.

The scores of a whole prompt, queries × keys, leave the processor's caches, and under a causal mask half of them are of
masked keys. The scores of a block are small, and its keys end where the mask hides the rest from all of its queries
(Dao et al. 2022 cut keys into blocks as well; here a row's softmax stays whole). A Loop over blocks does that, under an
If on the number of queries: a decoding step takes the plain form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import shape_of, typed_like

BLOCK = 64
"""Queries at a time."""
MANY = 128
"""From so many queries on, blocks save more than a Loop costs."""
QUERIES, KEYS = 2, 3
"""Axes of a mask."""


class Divisible(Protocol):
    """A problem that can be cut into ranges of queries and keys."""

    def part(self, op: GraphBuilder, queries: tuple[ir.Value, ir.Value], keys: tuple[ir.Value, ir.Value]) -> Self:
        """Return the problem for a range of queries over a range of keys."""


P = TypeVar("P", bound=Divisible)


@dataclass(frozen=True)
class _Bounds:
    """For each block its first query and its end, and the range of keys that holds all it attends to: int64 [n, 1]."""

    many: ir.Value
    queries: tuple[ir.Value, ir.Value]
    keys: tuple[ir.Value, ir.Value]


class QueryBlocks:
    """Builds attention under an If with both forms; the bounds of blocks are computed once for each mask."""

    def __init__(self) -> None:
        self._bounds: dict[ir.Value, _Bounds] = {}

    def build(
        self,
        op: GraphBuilder,
        mask: ir.Value,
        result: ir.Value,
        problem: P,
        attention: Callable[[GraphBuilder, P], ir.Value],
        outer: GraphBuilder | None = None,
    ) -> ir.Value:
        """Build `attention` of a problem in both forms, or the plain one if the mask broadcasts over queries or keys.

        `result` has the type and shape of what is built. `outer` builds outside of the branch that `op` may be in.
        """
        if 1 in (shape_of(mask)[QUERIES], shape_of(mask)[KEYS]):
            return attention(op, problem)
        if mask not in self._bounds:
            self._bounds[mask] = _find_bounds(outer or op, mask)
        bounds = self._bounds[mask]
        blocked, plain = op.nested("blocked"), op.nested("plain")
        branches = {
            "then_branch": branch(blocked, _loop(blocked, bounds, result, problem, attention), result),
            "else_branch": branch(plain, attention(plain, problem), result),
        }
        chosen: ir.Value = op.If(bounds.many, **branches)
        return chosen


def branch(op: GraphBuilder, value: ir.Value, like: ir.Value) -> ir.Graph:
    """Return the branch of an If with this value, which gets the type and shape of another one."""
    return op.subgraph([typed_like(value, like)])


def _find_bounds(op: GraphBuilder, mask: ir.Value) -> _Bounds:
    """Build the bounds of a mask's blocks, for prompts alone: an If on the number of queries."""
    many = op.GreaterOrEqual(op.Shape(mask, start=QUERIES, end=KEYS), op.ints(MANY))

    cut = op.nested("bounds")
    queries, keys = cut.Shape(mask, start=QUERIES, end=KEYS), cut.Shape(mask, start=KEYS)
    seen = cut.ReduceMax(cut.Cast(mask, to=ir.DataType.UINT8), cut.ints(0, 1), keepdims=0)
    missing = cut.Mod(cut.Neg(queries), cut.ints(BLOCK))
    padded = cut.Pad(seen, cut.Concat(cut.ints(0, 0), missing, cut.ints(0), axis=0))
    by_block = cut.Reshape(padded, cut.Concat(cut.ints(-1, BLOCK), keys, axis=0))
    any_sees = cut.ReduceMax(by_block, cut.ints(1), keepdims=0)
    first = cut.ArgMax(any_sees, axis=1)
    end = cut.Add(cut.ArgMax(any_sees, axis=1, select_last_index=1), cut.ints(1))
    rows = cut.Range(cut.scalar(0), cut.Squeeze(queries), cut.scalar(BLOCK))
    row = cut.Unsqueeze(rows, cut.ints(1))
    bounds = (row, cut.Add(row, cut.ints(BLOCK)), first, end)

    none = op.nested("none")
    nothing = [none.node("Constant", value=ir.tensor(np.zeros((1, 1), np.int64))) for _ in bounds]
    a, b, c, d = op.If(many, then_branch=cut.subgraph(bounds), else_branch=none.subgraph(nothing), outputs=4)
    return _Bounds(many, (a, b), (c, d))


def _loop(
    op: GraphBuilder, bounds: _Bounds, result: ir.Value, problem: P, attention: Callable[[GraphBuilder, P], ir.Value]
) -> ir.Value:
    """Build the blocks' results one after another: a sequence, because the last block may be shorter."""
    element = result.type
    assert isinstance(element, ir.TensorType)
    sequence = ir.SequenceType(element)
    empty = op.SequenceEmpty(dtype=element.dtype)
    count = op.Squeeze(op.Shape(bounds.queries[0], start=0, end=1))
    every: Any = op.Loop(count, None, empty, body=_body(op, bounds, sequence, problem, attention))
    every.type = sequence
    joined: ir.Value = op.ConcatFromSequence(every, axis=QUERIES)
    return joined


def _body(
    op: GraphBuilder,
    bounds: _Bounds,
    sequence: ir.SequenceType,
    problem: P,
    attention: Callable[[GraphBuilder, P], ir.Value],
) -> ir.Graph:
    inner = op.nested("block")
    index = ir.Value(name=f"{inner.name}.index", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64))
    going = ir.Value(name=f"{inner.name}.going", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    before = ir.Value(name=f"{inner.name}.before", type=sequence)
    (a, b), (c, d) = (
        (inner.Gather(start, index, axis=0), inner.Gather(end, index, axis=0))
        for start, end in (bounds.queries, bounds.keys)
    )
    after = inner.SequenceInsert(before, attention(inner, problem.part(inner, (a, b), (c, d))))
    after.type = sequence
    still = inner.Identity(going)
    still.type, still.shape = going.type, going.shape
    return inner.subgraph([still, after], [index, going, before])
