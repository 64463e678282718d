"""Markdown tables: writing, and reading of those that the tests write into docs/."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_SEPARATOR = re.compile(r"\|[\s:|-]+\|")
_CELLS = re.compile(r"(?<!\\)\|")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; cells are Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    return "\n".join([lines[0], f"|{' --- |' * len(header)}", *lines[1:], ""])


def text(value: str) -> str:
    """Return plain text for a cell or a paragraph, without markup."""
    return re.sub(r"([\\`*_{}\[\]|~#])", r"\\\1", html.escape(value, quote=False)).replace("\n", " ")


def read_tables(page: Path) -> dict[str, list[dict[str, str]]]:
    """Return the rows of every table of a page by the title of its first column; a row has cells by column."""
    tables: dict[str, list[dict[str, str]]] = {}
    header: list[str] | None = None
    rows: list[dict[str, str]] = []
    lines = page.read_text("utf-8").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|"):
            header = None
        elif header is None and _SEPARATOR.fullmatch(after):
            header = _cells(line)
            rows = tables.setdefault(header[0], [])
        elif header is not None and not _SEPARATOR.fullmatch(line):
            rows.append(dict(zip(header, _cells(line), strict=True)))
    return tables


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in _CELLS.split(line.strip())[1:-1]]
