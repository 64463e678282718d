"""Slots of caches by the name of their axis."""

from __future__ import annotations

import pytest

from archc.plan.axes import block_axis, has_slots, slots_of


@pytest.mark.parametrize(
    ("axis", "slots"),
    [("capacity", [11, 12]), ("capacity_4", [3, 4]), ("capacity_12", [1, 2]), ("ring_4", [None] * 2)],
    ids=str,
)
def test_slots_of_an_axis(axis: str, slots: list[int | None]) -> None:
    assert [slots_of(axis, capacity) for capacity in (11, 12)] == slots


@pytest.mark.parametrize(
    "axis", ["capacity_0", "capacity_04", "capacity_123456", "capacity_x", "capacity_", 5], ids=str
)
def test_names_of_other_axes(axis: str | int) -> None:
    assert slots_of(axis, 11) is None


def test_shapes_with_slots() -> None:
    assert has_slots(("batch", 2, block_axis(4), 8))
    assert not has_slots(("batch", 2, "source", 8))
