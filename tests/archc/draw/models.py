"""Models of specs with numbers that need no torch, for tests of the layout."""

from __future__ import annotations

from functools import cache

from archc.archspec import BoundSpec, load_spec
from archc.cli.inspect.binding import bind_some_size
from archc.draw.describe.blocks import Model
from archc.draw.describe.model import describe_model
from archc.draw.figure import Figure, Panel
from archc.draw.totals import PARTS, AtLength, Totals

FIGURES = Totals(
    parameters=7_000_000_000,
    by_part={part: 10**9 + index for index, part in enumerate(PARTS)},
    active=1_234_567_890,
    state_dtype="float16",
    state_per_token=131072,
    state_fixed=9999,
    state_per_source_token=4096,
    state_in_windows=65536,
    by_length=(AtLength(1024, 2**27, 10**10), AtLength(131072, 2**34, 10**12)),
    curve=(AtLength(1, 2**17, 10**9), AtLength(1024, 2**27, 10**10), AtLength(131072, 2**34, 10**12)),
)


@cache
def bound(name: str, size: str | None = None, overrides: tuple[str, ...] = ()) -> BoundSpec:
    return bind_some_size(load_spec(name, list(overrides)), size)


def model(name: str, size: str | None = None, overrides: tuple[str, ...] = ()) -> Model:
    return describe_model(bound(name, size, overrides), FIGURES.parameters)


def figure(*models: Model) -> Figure:
    return Figure(tuple(Panel(each, FIGURES, {}) for each in models))
