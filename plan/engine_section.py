"""The `engine` section of manifest.json: requirements and shapes of a serialized TensorRT engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from archc.plan.axes import CAPACITY, slots_of

AxisName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
AxisSize = Annotated[int, Meta(ge=1, le=2**40)]
Name = Annotated[str, Meta(min_length=1, max_length=1024)]

ENGINE_TARGETS = ("tensorrt", "tensorrt-rtx")


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A section of the manifest: immutable, and unknown keys are errors."""


class Profile(Section, frozen=True):
    """One optimization profile: the minimum, optimum and maximum size of each named axis."""

    name: Name
    axes: dict[AxisName, tuple[AxisSize, AxisSize, AxisSize]]

    def __post_init__(self) -> None:
        for axis, (minimum, optimum, maximum) in self.axes.items():
            if not minimum <= optimum <= maximum:
                raise ValueError(
                    f"profile {self.name!r}: axis {axis!r}: expected minimum ≤ optimum ≤ maximum, "
                    f"got {minimum}, {optimum}, {maximum}"
                )


class Engine(Section, frozen=True):
    """A serialized engine: its builder and devices, optimization profiles, cache capacity, and aliased state.

    `aliased` are pairs of an input and an output that share one address. With `weight_streaming`, TensorRT may keep
    weights in host memory.
    """

    file: Literal["engine.trt", "encoder.trt"]
    builder: Literal["tensorrt", "tensorrt_rtx"]
    version: Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)+\Z")]
    compute_capabilities: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\Z")], ...], Meta(min_length=1, max_length=64)
    ]
    profiles: Annotated[tuple[Profile, ...], Meta(min_length=1, max_length=16)]
    capacity: AxisSize | None = None
    aliased: tuple[tuple[Name, Name], ...] = ()
    weight_streaming: bool = False

    def __post_init__(self) -> None:
        if len({profile.name for profile in self.profiles}) != len(self.profiles):
            raise ValueError("engine: expected distinct profile names")
        if len({tuple(sorted(profile.axes)) for profile in self.profiles}) != 1:
            raise ValueError("engine: expected the same axes in every profile")
        names = [name for pair in self.aliased for name in pair]
        if len(set(names)) != len(names):
            raise ValueError("engine: an input or output is aliased twice")

    def check(self, file: str, target: str, shapes: Iterable[Sequence[int | str]]) -> None:
        """Raise ValueError unless file, target and the axes of `shapes` are those of this engine."""
        if self.file != file:
            raise ValueError(f"engine: expected the file {file}, got {self.file}")
        if target != self.builder.replace("_", "-"):
            raise ValueError(f"engine.builder: {self.builder} does not match target {target!r:.60}")
        axes = {axis for shape in shapes for axis in shape if isinstance(axis, str)}
        profiled = {*self.profiles[0].axes, *([CAPACITY] if self.capacity is not None else [])}
        # Slots of blocks of tokens follow from the capacity.
        axes = {CAPACITY if slots_of(axis, 1) is not None else axis for axis in axes}
        if mismatched := sorted(axes ^ profiled):
            raise ValueError(f"axis {mismatched[0]!r}: expected in both the profiles of {file} and the plan's shapes")
