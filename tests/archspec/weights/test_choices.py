"""Alternatives of a slot with verbs of their own: the first one with a tensor in the checkpoint is read."""

from __future__ import annotations

import pytest

from archc.archspec import Split, TensorRef, Transpose, WeightsError
from tests.archspec.samples import Load
from tests.archspec.weights.test_resolve import bound, refused, slots

TABLE = """layer.mlp.{up,down}:
  - {from: "old.{layer}.{u,d}", transpose: true}
  - new.{layer}.{up,down}
  - {from: "joined.{layer}", split: {parts: [3, 4]}}"""
NAMES = slots("layers.0.mlp.up.weight", "layers.0.mlp.down.weight")


@pytest.mark.parametrize(
    ("present", "up", "down"),
    [
        pytest.param(
            ["old.0.u.weight", "old.0.d.weight"],
            TensorRef(("old.0.u.weight",), (Transpose(),)),
            TensorRef(("old.0.d.weight",), (Transpose(),)),
            id="first",
        ),
        pytest.param(
            ["new.0.up.weight", "new.0.down.weight"],
            TensorRef(("new.0.up.weight",)),
            TensorRef(("new.0.down.weight",)),
            id="without verbs",
        ),
        pytest.param(
            ["joined.0.weight"],
            TensorRef(("joined.0.weight",), (Split(parts=(3, 4), take=0),)),
            TensorRef(("joined.0.weight",), (Split(parts=(3, 4), take=1),)),
            id="split",
        ),
    ],
)
def test_each_has_its_own_verbs(present: list[str], up: TensorRef, down: TensorRef, load: Load) -> None:
    found = bound(load, TABLE).resolve(NAMES, present)
    assert found.sources == {"layers.0.mlp.up.weight": up, "layers.0.mlp.down.weight": down}


def test_two_that_are_present(load: Load) -> None:
    present = ["old.0.u.weight", "old.0.d.weight", "new.0.up.weight"]
    assert "unused tensor 'new.0.up.weight'" in refused(bound(load, TABLE), NAMES, present)


def test_none_that_is_present(load: Load) -> None:
    with pytest.raises(WeightsError, match=r"'old\.0\.u\.weight' not found in the checkpoint"):
        bound(load, TABLE).resolve(NAMES, [])


def test_a_child_replaces_one_slot_of_the_line(load: Load) -> None:
    table = TABLE + "\nlayer.mlp.up.weight: mine.{layer}"
    found = bound(load, table).resolve(NAMES, ["mine.0", "new.0.down.weight"])
    assert found.sources["layers.0.mlp.up.weight"] == TensorRef(("mine.0",))
    assert found.sources["layers.0.mlp.down.weight"] == TensorRef(("new.0.down.weight",))
