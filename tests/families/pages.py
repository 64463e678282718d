"""Pages of docs/ that tests write: whole, or the rows of some families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def put(page: Path, text: str, arguments: Sequence[str]) -> None:
    """Write a page if `--write` is among the arguments; otherwise print it."""
    if "--write" in arguments:
        page.write_text(text, "utf-8")
    else:
        print(text, end="")


def with_rows(page: str, rows: Iterable[str]) -> str:
    """Return a page whose one table ends it, with rows `| name | …` added, or in place of those of a name.

    Rows are in the order of the files of specs.
    """
    lines = page.splitlines(keepends=True)
    start = max(index for index, line in enumerate(lines) if line.startswith(("|---", "| ---"))) + 1
    table = {_name(line): line for line in lines[start:] if line.startswith("|")}
    table |= {_name(row): row for row in rows}
    rest = [line for line in lines[start:] if not line.startswith("|")]
    return "".join([*lines[:start], *(table[name] for name in sorted(table, key="{}.yaml".format)), *rest])


def _name(row: str) -> str:
    return row.split("|")[1].strip()
