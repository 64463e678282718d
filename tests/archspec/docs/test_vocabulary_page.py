from __future__ import annotations

from pathlib import Path

from archc.archspec.docs.vocabulary_page import vocabulary_page

PAGE = Path(__file__).parents[3] / "docs" / "vocabulary.md"


def test_the_page_is_up_to_date() -> None:
    command = "python -m archc.archspec.docs.vocabulary_page > docs/vocabulary.md"
    assert PAGE.read_text("utf-8") == vocabulary_page(), f"regenerate it: {command}"


def test_every_key_has_a_meaning() -> None:
    empty = [line for line in vocabulary_page().splitlines() if line.endswith("|  |")]
    assert empty == []
