"""manifest.json's `engine`: what a runtime must know about a serialized TensorRT engine before it opens it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

AxisName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
AxisSize = Annotated[int, Meta(ge=1, le=2**40)]
Name = Annotated[str, Meta(min_length=1, max_length=1024)]

ENGINE_TARGETS = ("tensorrt", "tensorrt-rtx")


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest: it cannot be changed, and has no other keys than those."""


class Profile(Section, frozen=True):
    """One optimization profile: the least, the usual and the greatest size of each named axis."""

    name: Name
    axes: dict[AxisName, tuple[AxisSize, AxisSize, AxisSize]]

    def __post_init__(self) -> None:
        for axis, (least, usual, greatest) in self.axes.items():
            if not least <= usual <= greatest:
                raise ValueError(f"profile {self.name!r}: axis {axis!r} has the sizes {least}, {usual}, {greatest}")


class Engine(Section, frozen=True):
    """A serialized engine: who built it and for which devices, the sizes that a call may have, and which inputs and
    outputs share an address."""

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
            raise ValueError("two profiles of an engine have one name")
        if len({tuple(sorted(profile.axes)) for profile in self.profiles}) != 1:
            raise ValueError("an engine's profiles have the same axes")
        names = [name for pair in self.aliased for name in pair]
        if len(set(names)) != len(names):
            raise ValueError("an input or output of an engine is aliased twice")

    def check(self, file: str, shapes: Iterable[Sequence[int | str]]) -> None:
        """Raise ValueError unless this is the engine of that file and its axes are those that the shapes name."""
        if self.file != file:
            raise ValueError(f"the engine is in {self.file}, where {file} belongs")
        axes = {axis for shape in shapes for axis in shape if isinstance(axis, str)}
        known = {*self.profiles[0].axes, *(["capacity"] if self.capacity is not None else [])}
        if odd := sorted(axes ^ known):
            raise ValueError(f"the axis {odd[0]!r} is in only one of {file}'s profiles and the plan's shapes")
