from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archc.archspec.docs.vocabulary_page import vocabulary_page
from archc.archspec.vocabulary import Model, Section
from archc.archspec.vocabulary.schema import SectionSchema, keys_of

PAGE = Path(__file__).parents[3] / "docs" / "vocabulary.md"


def test_the_page_is_up_to_date() -> None:
    command = "python -m archc.archspec.docs.vocabulary_page > docs/vocabulary.md"
    assert PAGE.read_text("utf-8") == vocabulary_page(), f"regenerate it: {command}"


def test_every_key_has_a_meaning() -> None:
    empty = [line for line in vocabulary_page().splitlines() if line.endswith("|  |")]
    assert empty == []


def sections(section: type[Section], seen: set[type[Section]]) -> Iterator[type[Section]]:
    """The section classes below a class."""
    if section in seen:
        return
    seen.add(section)
    yield section
    for key in keys_of(section).values():
        if isinstance(key.schema, SectionSchema):
            for inner in key.schema.classes.values():
                yield from sections(inner, seen)


@pytest.mark.parametrize("section", list(sections(Model, set())), ids=lambda section: section.__name__)
def test_every_key_of_a_section_is_on_the_page(section: type[Section]) -> None:
    rows = vocabulary_page().splitlines()
    for name, key in keys_of(section).items():
        assert any(row.startswith(f"| `{name}`") and key.description.replace("|", "\\|") in row for row in rows), name
