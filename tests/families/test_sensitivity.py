"""Mutations of a bound spec change the outputs: `archc.proof.sensitivity`."""

from __future__ import annotations

from archc.proof.built import Built
from archc.proof.sensitivity import weak_fields
from tests.families.test_families import built, first_case

__all__ = ["built"]


@first_case
def test_every_mutation_changes_the_outputs(built: Built) -> None:
    assert weak_fields(built) == {}
