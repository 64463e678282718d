"""Excerpts of docs/writing-a-component.md are the code that they show; a line `...` stands for lines left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-a-component.md").read_text("utf-8")
EXCERPTS = [block.splitlines() for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)]
SOURCES = [
    [line.strip() for line in path.read_text("utf-8").splitlines()]
    for room in ("archspec", "compiler", "tests/compiler")
    for path in sorted((ROOT / room).rglob("*.py"))
]


def is_in(excerpt: list[str], source: list[str]) -> bool:
    """Return whether the lines of an excerpt are lines of a file, in this order."""
    rest = iter(source)
    return all(line.strip() in rest for line in excerpt if line.strip() not in ("...", ""))


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda lines: lines[0].strip()[:40])
def test_an_excerpt_is_in_a_file(excerpt: list[str]) -> None:
    assert len(excerpt) > 1
    assert any(is_in(excerpt, source) for source in SOURCES)


def test_every_path_of_the_page_exists() -> None:
    paths = re.findall(r"`((?:archspec|compiler|docs|tests)/[\w/.-]+)`", PAGE)
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]
