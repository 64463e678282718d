"""Symbolic sizes: several hundred functions of the axes, each of which is recorded for all sizes, or refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import combinations, combinations_with_replacement
from math import prod

import numpy as np
from torch import Tensor, nn

from archc.compiler.contract.types import BLOCK_SLOTS, SIZES, TensorType
from archc.compiler.errors import TraceError
from archc.compiler.tracing.parts import Part, record
from archc.compiler.tracing.tracer import Recording
from tests.compiler.graphs import run

Axes = Mapping[str, int]
SizeFunction = Callable[[Axes], int]

OF_TWO: Mapping[str, Callable[[int, int], int]] = {
    "{} + {}": lambda a, b: a + b,
    "{} - {}": lambda a, b: a - b,
    "{} * {}": lambda a, b: a * b,
    "min({}, {})": min,
    "max({}, {})": max,
}
OF_ONE: Mapping[str, Callable[[int, int], int]] = {
    "{} + {}": lambda a, c: a + c,
    "{} - {}": lambda a, c: a - c,
    "{} * {}": lambda a, c: a * c,
    "min({}, {})": min,
    "max({}, {})": max,
    "{} // {}": lambda a, c: a // c,
    "ceil({} / {})": lambda a, c: -(-a // c),
    "{} % {}": lambda a, c: a % c,
    "{} > {}": lambda a, c: int(a > c),
}
EVERY = (*SIZES.values(), BLOCK_SLOTS)
CONSTANTS = (2, 3, 8, 16, 64, 100)

INPUTS = {axis: TensorType("int64", (axis,)) for axis in SIZES} | {"one": TensorType("int64", ())}


def size_functions() -> Iterator[tuple[str, SizeFunction]]:
    """Each function of the sizes by its formula."""
    for formula, function in OF_TWO.items():
        for a, b in combinations(SIZES, 2):
            yield formula.format(a, b), lambda axes, f=function, a=a, b=b: f(axes[a], axes[b])
    for axis in SIZES:
        yield f"{axis} ** 2", lambda axes, a=axis: axes[a] ** 2
        yield f"{axis} == 1", lambda axes, a=axis: int(axes[a] == 1)
        for formula, function in OF_ONE.items():
            for c in CONSTANTS:
                yield formula.format(axis, c), lambda axes, f=function, a=axis, c=c: f(axes[a], c)


FUNCTIONS = dict(size_functions())


def component(names: list[str]) -> Part:
    """The functions as outputs, each a number of a graph whose inputs have every axis."""

    def outputs(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        axes = {axis: tensors[axis].shape[0] for axis in SIZES}
        return [tensors["one"] * FUNCTIONS[name](axes) for name in names]

    return Part(nn.Module(), outputs, INPUTS)


def is_accepted(name: str) -> bool:
    part = component([name])
    try:
        Recording(part.function, part.inputs)
    except TraceError:
        return False
    return True


def other_sizes(count: int) -> list[dict[str, int]]:
    """Sizes of the axes: each one small, near a constant, near a sample of another axis, or any."""
    generator = random.Random(0)
    near = (*CONSTANTS, *(size for sizes in SIZES.values() for size in sizes))

    def any_size() -> int:
        size = generator.choice((1, 2, generator.choice(near) + generator.randint(-1, 1), generator.randint(1, 3000)))
        return max(1, size)

    return [{axis: any_size() for axis in SIZES} for _ in range(count)]


def test_every_size_function_that_is_recorded_is_right_at_other_sizes() -> None:
    accepted = [name for name in FUNCTIONS if is_accepted(name)]
    model, _ = record(component(accepted))
    wrong = {}
    for axes in other_sizes(100):
        feeds = {axis: np.zeros(size, np.int64) for axis, size in axes.items()} | {"one": np.array(1, np.int64)}
        names = {value.name for value in model.graph.inputs}
        outputs = run(model, {name: array for name, array in feeds.items() if name in names})
        for name, actual in zip(accepted, outputs, strict=True):
            if actual != FUNCTIONS[name](axes):
                wrong[name] = f"{actual} at {axes}"
    assert wrong == {}
    # Affine functions of one product of axes, and no other, have a formula.
    affine = {name for name in FUNCTIONS if "*" in name or (set("+-") & set(name) and name.split()[-1].isdigit())}
    assert set(accepted) == affine
    assert (len(FUNCTIONS), len(accepted)) == (411, 129)


def test_no_product_of_axes_is_an_affine_function_of_another() -> None:
    products = [axes for count in (1, 2, 3) for axes in combinations_with_replacement(EVERY, count)]
    shapes = set()
    for axes in products:
        first, second, *others = (prod(sizes) for sizes in zip(*axes, strict=True))
        assert first != second, "the formula search divides by the difference of the first two runs"
        shapes.add(tuple(Fraction(other - first, second - first) for other in others))
    assert len(shapes) == len(products)


def test_the_samples_show_every_axis_at_one_large_and_on_either_side_of_every_other() -> None:
    for sizes in EVERY:
        assert sizes[-1] == min(sizes) == 1
        assert max(sizes) > max(CONSTANTS)
    for one, other in combinations(EVERY, 2):
        assert {a < b for a, b in zip(one, other, strict=True) if a != b} == {True, False}
    # A hidden state and a mask over the keys stay small in every run, because operators run on tensors of these sizes.
    assert max(map(prod, zip(SIZES["batch"], SIZES["seq"], strict=True))) <= 1031
    assert max(map(prod, zip(SIZES["batch"], SIZES["seq"], SIZES["total"], strict=True))) <= 10_000
