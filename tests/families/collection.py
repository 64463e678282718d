"""The specs of specs/ and the cases of their reference files, collected without a list."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from archc.archspec.source.catalog import shipped
from archc.proof.case import Case

REFERENCES = Path(__file__).parent.parent / "reference"


def module_name(family: str) -> str:
    """Return the name of a family's module in tests/reference."""
    return family.replace("-", "_")


@cache
def cases_of(family: str) -> tuple[Case, ...]:
    """Return a family's cases, none if its module does not exist; `test_every_spec_has_cases` reports that."""
    name = f"tests.reference.{module_name(family)}"
    return tuple(import_module(name).CASES) if find_spec(name) is not None else ()


def all_cases() -> list[tuple[str, Case]]:
    """Return every family's name with each of its cases."""
    return [(family, case) for family in shipped() for case in cases_of(family)]
