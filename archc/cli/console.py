"""What commands share of the terminal: notes and progress on stderr, JSON on stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with what is at work, how much is done, and how much there is in all."""

# Characters that would move the cursor or change the terminal's state; a model may write any of them.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


class UsageError(Exception):
    """Arguments that contradict each other, or have no effect; the message says which and what to do."""


def note(message: str) -> None:
    """Writes one line for the user to stderr."""
    print(f"archc: {message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Writes a warning to stderr."""
    note(f"warning: {message}")


def write_error(message: str) -> None:
    """Writes each line of an error's message to stderr, as an error of its own."""
    for line in message.splitlines() or [""]:
        note(f"error: {line}")


def write_json(value: Any, indent: int | None = None) -> None:
    """Writes one JSON object to stdout; numbers that JSON lacks become null."""
    print(json.dumps(_finite(value), indent=indent, allow_nan=False))


def write_text(text: str) -> None:
    """Writes generated text to stdout at once; on a terminal, control characters are shown instead of obeyed."""
    sys.stdout.write(text.translate(_CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextmanager
def progress_bar(of_bytes: bool = False) -> Iterator[Progress]:
    """A progress bar on stderr where that is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    amount: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    columns = (BarColumn(), amount, TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        yield update


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def columns(header: Sequence[str] | None, rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines of aligned columns, those of `right` to the right."""
    table = [*([header] if header is not None else []), *rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        return "  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(cells)).rstrip()

    return [line(row) for row in table]
