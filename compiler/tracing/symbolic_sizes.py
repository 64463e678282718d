"""Sizes that only a call knows, as formulas over the named axes: found from what they are when those vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from math import prod

import onnx_ir as ir

from archc.compiler.contract.types import SIZES
from archc.compiler.errors import TraceError
from archc.compiler.graph.opset import ints, op

RUNS = len(SIZES["batch"])
_MOST_AXES = 3  # in a product of a formula


@dataclass(frozen=True)
class Size:
    """A size that only a call knows: as an int64 vector of one, and as what it is of the named axes."""

    value: ir.Value
    formula: str


class Sizes:
    """The sizes of a trace, by what they are in each run."""

    def __init__(self) -> None:
        self._axes: dict[tuple[int, ...], Size] = {}
        self._found: dict[tuple[int, ...], Size] = {}

    def add_axis(self, axis: str, value: ir.Value, index: int) -> None:
        """Has a named axis read off a tensor, unless it is read off another."""
        if SIZES[axis] not in self._axes:
            self._axes[SIZES[axis]] = Size(op.Shape(value, start=index, end=index + 1), axis)

    def find(self, wanted: tuple[int, ...]) -> Size:
        """A size as factor · product of axes + rest. Raises TraceError if it is none."""
        if wanted not in self._found:
            self._found[wanted] = self._axes[wanted] if wanted in self._axes else self._affine(wanted)
        return self._found[wanted]

    def _affine(self, wanted: tuple[int, ...]) -> Size:
        for count in range(1, _MOST_AXES + 1):
            for chosen in combinations_with_replacement(self._axes, count):
                products = [prod(sizes[run] for sizes in chosen) for run in range(RUNS)]
                factor, remains = divmod(wanted[0] - wanted[1], products[0] - products[1])
                rest = wanted[0] - factor * products[0]
                if not remains and all(factor * p + rest == n for p, n in zip(products, wanted, strict=True)):
                    return _affine([self._axes[sizes] for sizes in chosen], factor, rest)
        raise TraceError(f"the trace holds for some sizes only: no formula gives {wanted}")


def _affine(axes: Sequence[Size], factor: int, rest: int) -> Size:
    value, formula = reduce(op.Mul, (axis.value for axis in axes)), " * ".join(axis.formula for axis in axes)
    if factor != 1:
        value, formula = op.Mul(value, ints(factor)), f"{factor} * {formula}"
    if rest:
        value, formula = op.Add(value, ints(rest)), f"{formula} + {rest}"
    return Size(value, formula)
