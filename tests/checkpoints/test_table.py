"""The table of docs/checkpoints.md is that of the catalog."""

from __future__ import annotations

from tests.checkpoints.catalog import CHECKPOINTS
from tests.checkpoints.table import BEGIN, END, PAGE, page


def test_the_page_is_current() -> None:
    text = PAGE.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert page(text) == text, "run python -m tests.checkpoints.table --write"


def test_a_row_for_each_checkpoint() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    assert all(any(line.startswith(f"| {row.name} | ") for line in lines) for row in CHECKPOINTS)
