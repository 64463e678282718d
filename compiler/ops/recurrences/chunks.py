"""Chunks of a sequence, and the Scan node over them.

Within a chunk every pair of positions is computed at once; from chunk to chunk only the state passes. A chunk has as
many positions as the call, up to CHUNK, so that a call of one token costs one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from archc.compiler.graph.builder import BodyBuilder, op

# Work grows with the chunk, and the number of steps shrinks: 8 and 16 measure alike, 4 and 32 worse.
CHUNK = 8


def scan(body: BodyBuilder, states: Sequence[Any], scanned: Sequence[Any], ranks: Sequence[int]) -> list[Any]:
    """Build a Scan: return the final states, then the outputs of all steps along a new first axis, of these ranks."""
    count = len(states) + len(ranks)
    outputs = list(op.Scan(*states, *scanned, body=body.body(), num_scan_inputs=len(scanned), outputs=count))
    for output, rank in zip(outputs, [*(len(state.shape) for state in states), *ranks], strict=True):
        output.type, output.shape = ir.TensorType(body.dtype), ir.Shape([None] * rank)
    return outputs


class Cut(NamedTuple):
    """Sequences as chunks, joined along the last axis, with what `uncut` needs."""

    joined_nBHcM: Any
    length: Any  # of the call, as an int64 vector of one
    heads: int


def cut(sequences: Sequence[Any], heads: int, chunk: int = CHUNK) -> Cut:
    """Return sequences [B, S, heads · D] as [n, B, heads, c, sum of D], c ≤ chunk; zeros fill the last chunk."""
    parted = [op.Reshape(x, op.ints(0, 0, heads, -1)) for x in sequences]
    width = sum(int(x.shape[-1]) // heads for x in sequences)
    joined = op.Concat(*parted, axis=-1)
    length = op.Shape(joined, start=1, end=2)
    size = op.Min(length, op.ints(chunk))
    count = op.Div(op.Sub(op.Add(length, size), op.ints(1)), size)
    missing = op.Sub(op.Mul(count, size), length)
    filler = op.constant(np.zeros((1, 1, 1, 1), sequences[0].dtype.numpy()))
    shape = op.Concat(op.Shape(joined, start=0, end=1), missing, op.ints(heads, width), axis=0)
    whole = op.Concat(joined, op.Expand(filler, shape), axis=1)
    cut_shape = op.Concat(op.ints(0, -1), size, op.ints(heads, width), axis=0)
    return Cut(op.Transpose(op.Reshape(whole, cut_shape), perm=[1, 0, 3, 2, 4]), length, heads)


def uncut(y_nBHcE: Any, cut_: Cut, channels: int) -> Any:
    """Return chunks [n, B, heads, c, E] as [B, S, channels]."""
    rows = op.Transpose(y_nBHcE, perm=[1, 0, 3, 2, 4])
    whole = op.Reshape(rows, op.ints(0, -1, channels))
    return op.Slice(whole, op.ints(0), cut_.length, op.ints(1))


class Pairs:
    """Sums of log decays w [B, H, c, D] over the positions of a chunk, as products with matrices of zeros and ones.

    Each sum is computed from its own terms, never as a difference of two sums: with one strong decay, a difference
    would cancel the weaker ones.
    """

    def __init__(self, body: BodyBuilder, log_decay_BHcD: ir.Value, width: int) -> None:
        self.body, self.w, self.width = body, log_decay_BHcD, width
        place = np.arange(CHUNK)
        t, s, j = place[:, None, None], place[None, :, None], place[None, None, :]
        dtype = body.dtype.numpy()
        self._between = ((s < j) & (j < t)).astype(dtype)
        self._up_to = ((s < j) & (j <= t)).astype(dtype)
        self.size = body.Shape(log_decay_BHcD, start=2, end=3)
        sizes = body.Concat(self.size, self.size, axis=0)
        place_2 = (body.ints(0, 0), sizes, body.ints(0, 1))
        # [t, s], true where s is before t.
        self.earlier_cc = body.Slice(body.constant((place[None] < place[:, None]).astype(dtype)), *place_2)

    def before(self) -> ir.Value:
        """Return for each position t the sum over all before it, [B, H, c, D]."""
        return self.body.MatMul(self.earlier_cc, self.w)

    def after(self) -> ir.Value:
        """Return for each position s the sum over all after it, [B, H, c, D]."""
        return self.body.MatMul(self.body.Transpose(self.earlier_cc, perm=[1, 0]), self.w)

    def total(self) -> ir.Value:
        """Return the sum over the chunk, [B, H, 1, D]."""
        return self.body.ReduceSum(self.w, self.body.ints(2), keepdims=1)

    def between(self, including_last: bool = False) -> ir.Value:
        """Return for each pair t, s the sum over s + 1 … t − 1, or … t, [B, H, c, c, D]; zero for an empty range."""
        body = self.body
        sizes = body.Concat(self.size, self.size, self.size, axis=0)
        matrix = body.constant(self._up_to if including_last else self._between)
        cube = body.Slice(matrix, body.ints(0, 0, 0), sizes, body.ints(0, 1, 2))
        rows = body.Reshape(cube, body.Concat(body.ints(-1), self.size, axis=0))
        shape = body.Concat(body.ints(0, 0), self.size, self.size, body.ints(self.width), axis=0)
        return body.Reshape(body.MatMul(rows, self.w), shape)
