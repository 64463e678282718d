"""The code blocks of a Markdown page: files to write, programs, and commands with the output that the page shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"```(\w*)$")
_FILE = re.compile(r"`([\w-]+\.\w+)`:$")  # ends the paragraph in front of a block that is a file


@dataclass(frozen=True)
class File:
    """A block that is the content of a file."""

    name: str
    content: str


@dataclass(frozen=True)
class Program:
    """A block of Python."""

    code: str


@dataclass(frozen=True)
class Command:
    """A command line; `output` is None where the page shows none, and `…` stands in it for any text."""

    line: str
    output: str | None

    def shows(self, text: str) -> bool:
        """Return whether a text is the output of the page."""
        parts = map(re.escape, (self.output or "").strip().split("…"))
        return re.fullmatch(".*".join(parts), text.strip(), re.DOTALL) is not None


def blocks(page: str) -> Iterator[File | Program | Command]:
    """Yield the blocks of a page, in order; a block of another language than Python is a file or nothing."""
    lines = iter(page.splitlines())
    paragraph = ""
    for line in lines:
        if (fence := _FENCE.match(line)) is not None:
            content = "".join(f"{row}\n" for row in iter(lambda: next(lines), "```"))
            if (file := _FILE.search(paragraph)) is not None:
                yield File(file[1], content)
            elif fence[1] == "python":
                yield Program(content)
        elif line.startswith("    "):
            rows = [line.removeprefix("    ")]
            while (row := next(lines, "")).startswith("    "):
                rows.append(row.removeprefix("    "))
            yield from _commands(rows)
        if line and not line.startswith(" "):
            paragraph = line


def _commands(rows: list[str]) -> Iterator[Command]:
    """Yield the commands of an indented block: those after `$` with their output, or one on each line."""
    if not rows[0].startswith("$ "):
        yield from (Command(re.sub(r"\s+#.*", "", row), None) for row in rows)
        return
    for part in "\n".join(rows).removeprefix("$ ").split("\n$ "):
        line, _, output = part.partition("\n")
        yield Command(line, output)
