"""Symbolic sizes: affine formulas over the dynamic axes, inferred from their values in several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations_with_replacement
from math import prod

import onnx_ir as ir

from archc.compiler.contract.types import SIZES, sizes_of
from archc.compiler.errors import TraceError
from archc.compiler.graph.builder import op

RUNS = len(SIZES["batch"])
_MAX_AXES = 3  # in the product of a formula


@dataclass(frozen=True)
class Size:
    """A size that differs between calls: its value, int64 [1], and its formula over the axes as text."""

    value: ir.Value
    formula: str


class Sizes:
    """The symbolic sizes of one trace, by their values in each run."""

    def __init__(self) -> None:
        self._axes: dict[tuple[int, ...], Size] = {}
        self._known: dict[tuple[int, ...], Size] = {}

    def add_axis(self, axis: str, value: ir.Value, index: int) -> None:
        """Read a named axis off a tensor's shape at `index`, unless another tensor has it already."""
        if sizes_of(axis) not in self._axes:
            self._axes[sizes_of(axis)] = Size(op.Shape(value, start=index, end=index + 1), axis)

    def add_size(self, numbers: tuple[int, ...], formula: str, value: ir.Value, index: int) -> None:
        """Read a size with these values off the result of an operator, unless it is known."""
        if numbers not in self._axes and numbers not in self._known:
            self._known[numbers] = Size(op.Shape(value, start=index, end=index + 1), formula)

    def find(self, numbers: tuple[int, ...]) -> Size:
        """Return the formula of a size with these values, one for each run: factor · product of axes + offset.

        Raises TraceError if no formula matches all of them.
        """
        if numbers not in self._known:
            self._known[numbers] = self._axes[numbers] if numbers in self._axes else self._affine(numbers)
        return self._known[numbers]

    def _affine(self, numbers: tuple[int, ...]) -> Size:
        for count in range(1, _MAX_AXES + 1):
            for axes in combinations_with_replacement(self._axes, count):
                products = [prod(sizes[run] for sizes in axes) for run in range(RUNS)]
                factor, remainder = divmod(numbers[0] - numbers[1], products[0] - products[1])
                offset = numbers[0] - factor * products[0]
                if not remainder and all(factor * p + offset == n for p, n in zip(products, numbers, strict=True)):
                    return _affine([self._axes[sizes] for sizes in axes], factor, offset)
        names = ", ".join(axis.formula for axis in self._axes.values())
        raise TraceError(
            f"cannot express the size {numbers} (one value per run) in terms of {names}; "
            "use a size that is affine in a product of axes"
        )


def _affine(axes: Sequence[Size], factor: int, offset: int) -> Size:
    value, formula = reduce(op.Mul, (axis.value for axis in axes)), " * ".join(axis.formula for axis in axes)
    if factor != 1:
        value, formula = op.Mul(value, op.ints(factor)), f"{factor} * {formula}"
    if offset:
        value, formula = op.Add(value, op.ints(offset)), f"{formula} + {offset}"
    return Size(value, formula)
