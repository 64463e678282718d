"""The table of official checkpoints: python -m tests.checkpoints.table [--write].

It is printed, or written to docs/checkpoints.md between its two marks. A test of `test_checkpoints.py` backs each cell.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.checkpoints.catalog import CHECKPOINTS, REFUSED
from tests.checkpoints.checkpoint import Checkpoint, Refused

PAGE = Path(__file__).parent.parent.parent / "docs" / "checkpoints.md"
BEGIN, END = "<!-- begin: tests/checkpoints/table.py -->\n", "<!-- end -->\n"
HEAD = """| checkpoint | weights | packing | tokenizer | prompt | chat | spec |
|---|---|---|---|---|---|---|
"""


def table() -> str:
    """Return the table, a row for each checkpoint."""
    rows = [row(item) for item in CHECKPOINTS] + [refused_row(item) for item in REFUSED]
    return HEAD + "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(item: Checkpoint) -> list[str]:
    """Return the cells of a checkpoint."""
    tokenizer = item.vocabulary.label + (", with `--tokenizer`" if item.is_tokenizer_elsewhere else "")
    spec = item.spec + (", named" if item.is_spec_named else "")
    return [item.name, item.stored.label, item.stored.packing or "", tokenizer, prompt(item), chat(item), spec]


def prompt(item: Checkpoint) -> str:
    """Return the tokens around a plain prompt."""
    tokens = [*map(code, item.begin), "…", *map(code, item.end)]
    return " ".join(tokens) if len(tokens) > 1 else ""


def chat(item: Checkpoint) -> str:
    """Return the place of the chat format."""
    if item.chat is None:
        return ""
    if "chat_template.jinja" in item.files:
        return "`chat_template.jinja`"
    config = item.files.get("tokenizer_config.json")
    stated = callable(config) or (config is not None and "chat_template" in config)
    return "`tokenizer_config.json`" if stated else "spec"


def refused_row(item: Refused) -> list[str]:
    """Return the cells of a checkpoint that is refused by name."""
    return [item.name, f"{item.form}: refused; use {item.instead}", "", "", "", "", ""]


def code(token: str) -> str:
    """Return a token as code in a cell."""
    return "`" + token.replace("|", "\\|") + "`"


def page(text: str) -> str:
    """Return the page with the current table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + table() + "\n" + END + after


def main(arguments: list[str]) -> int:
    """Print or write the table."""
    if "--write" in arguments:
        PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    else:
        print(table(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
