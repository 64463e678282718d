"""Rows of generated pages."""

from __future__ import annotations

from tests.families.pages import with_rows

PAGE = "# Title\n\n| family | x |\n|---|---|\n| bert | 1 |\n| xlm-roberta | 2 |\n| xlm | 3 |\n"


def test_rows_are_replaced_and_added_in_the_order_of_files() -> None:
    page = with_rows(PAGE, ["| xlm | 4 |\n", "| gpt2 | 5 |\n"])
    assert page.splitlines()[4:] == ["| bert | 1 |", "| gpt2 | 5 |", "| xlm-roberta | 2 |", "| xlm | 4 |"]
    assert page.startswith("# Title\n\n| family | x |\n|---|---|\n")
