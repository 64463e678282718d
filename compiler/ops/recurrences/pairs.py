"""Products over pairs of positions in chunks: decays between them, and the inverse of a triangular matrix.

Positions of a chunk are halved again and again: the pairs of level l are those of two neighboring blocks of 2ˡ
positions, later block to earlier one. Every pair t > s has one level. Shape suffixes as in the package; leading axes
are left out.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from archc.compiler.graph.builder import Builder, op


def levels(chunk: int) -> list[NDArray[np.bool_]]:
    """Return for each level the matrix [t, s] of its pairs."""
    t, s = np.arange(chunk)[:, None], np.arange(chunk)[None]
    sizes = [1 << level for level in range((chunk - 1).bit_length())]
    return [(t // (2 * size) == s // (2 * size)) & (t // size > s // size) for size in sizes]


class Decays:
    """Decays over the positions of chunks, log decays w [..., c, 1] by head or [..., c, D] by channel.

    Each sum of logarithms is computed from its own terms, never as a difference of two sums: with one strong decay,
    a difference would cancel the weaker ones.
    """

    def __init__(self, log_decay: Any, width: int, rank: int, chunk: int, dtype: ir.DataType) -> None:
        self.w, self.dtype, self.rank, self.chunk = log_decay, dtype.numpy(), rank, chunk
        size = op.Shape(log_decay, start=-2, end=-1)
        self._square = (op.ints(0, 0), op.Concat(size, size, axis=0), op.ints(0, 1))
        self._between = None
        if width == 1:
            self._between = self._exp(np.tri(chunk), op.Mul(self.w, self.matrix(np.tri(chunk, k=-1))))

    def matrix(self, whole: NDArray[Any]) -> Any:
        """Return the part of a constant matrix [chunk, chunk] for the positions of the chunks, [c, c]."""
        return op.Slice(op.constant(whole.astype(self.dtype)), *self._square)

    def _exp(self, terms: NDArray[Any], log_decays: Any) -> Any:
        """Return the decay over the terms of each row."""
        return op.Exp(op.MatMul(self.matrix(terms), log_decays))

    def through(self) -> Any:
        """Return for each position t the decay from the chunk's begin to it, its own included, [..., c, W]."""
        return self._exp(np.tri(self.chunk), self.w)

    def after(self) -> Any:
        """Return for each position s the decay after it to the end of the chunk, [..., c, W]."""
        return self._exp(np.tri(self.chunk, k=-1).T, self.w)

    def total(self) -> Any:
        """Return the decay over a chunk, [..., 1, W]."""
        return op.Exp(op.ReduceSum(self.w, op.ints(-2), keepdims=1))

    def scores(self, x: Any, y: Any, strictly: bool = False) -> Any:
        """Return x[t] · (decay from s to t ⊙ y[s]) for s before t, and for t itself unless `strictly`: [..., c, c]."""
        if self._between is None:
            return self._by_channel(x, y, strictly)
        allowed = self.matrix(np.tri(self.chunk, k=-1 if strictly else 0))
        return op.Mul(op.MatMul(x, flip(op, y, self.rank)), op.Mul(self._between, allowed))

    def _by_channel(self, x: Any, y: Any, strictly: bool) -> Any:
        """Sum over levels: products of decays from the border of two blocks to t, and from s to it; none exceeds 1."""
        t, s = np.arange(self.chunk)[:, None], np.arange(self.chunk)[None]
        parts = []
        for level, pairs in enumerate(levels(self.chunk)):
            same, later = t >> level == s >> level, (t >> level) % 2 == 1
            decay = self._exp(same & np.where(later, s <= t, s > t), self.w)
            product = op.MatMul(op.Mul(x, decay), flip(op, op.Mul(y, decay), self.rank))
            parts.append(op.Mul(product, self.matrix(pairs)))
        if not strictly:
            own = op.ReduceSum(op.Mul(x, y), op.ints(-1), keepdims=1)
            parts.append(op.Mul(own, self.matrix(np.eye(self.chunk))))
        return reduce(op.Add, parts)


def flip(builder: Builder, x: Any, rank: int) -> Any:
    """Return x of that rank with its last two axes exchanged."""
    return builder.Transpose(x, perm=[*range(rank - 2), rank - 1, rank - 2])


def inverse(lower: Any, decays: Decays) -> Any:
    """Return (1 + A)⁻¹ for strictly lower triangular A [..., c, c], level by level.

    The inverse of a block from those of its halves: its lower left quarter is −T₂ A₂₁ T₁. A sum of powers of A would
    lose digits, because they grow where keys are alike.
    """
    first, *others = levels(decays.chunk)
    solved = op.Sub(decays.matrix(np.eye(decays.chunk)), op.Mul(lower, decays.matrix(first)))
    for pairs in others:
        quarter = op.Mul(lower, decays.matrix(pairs))
        solved = op.Sub(solved, op.MatMul(op.MatMul(solved, quarter), solved))
    return solved
