"""Terminal output that commands share: notes and progress on stderr, JSON and tables on stdout."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archc.error import Error

Progress = Callable[[str, int, int], None]
"""Called with the name of the current step, the amount done, and the total."""

# Characters that would move the cursor or change the terminal's state; a model may generate any of them.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


class UsageError(Error):
    """Arguments that contradict each other or have no effect; the message names them and the remedy."""


def note(message: str) -> None:
    """Write one line for the user to stderr."""
    print(f"archc: {message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Write a warning to stderr."""
    note(f"warning: {message}")


def write_error(message: str) -> None:
    """Write each line of an error's message to stderr, as an error of its own."""
    for line in message.splitlines() or [""]:
        note(f"error: {line}")


def write_json(value: Any, indent: int | None = None) -> None:
    """Write one JSON object to stdout; NaN and infinity become null."""
    print(json.dumps(_finite(value), indent=indent, allow_nan=False))


def write_text(text: str) -> None:
    """Write generated text to stdout at once; on a terminal, control characters are escaped."""
    sys.stdout.write(text.translate(_CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextmanager
def progress_bar(of_bytes: bool = False) -> Iterator[Progress]:
    """Show a progress bar on stderr if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    amount: ProgressColumn = DownloadColumn() if of_bytes else MofNCompleteColumn()
    shown = (BarColumn(), amount, TextColumn("{task.description}", markup=False))
    with Bar(*shown, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)

        yield update


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def columns(header: Sequence[str] | None, rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Return rows as lines of aligned columns; `right` are the indices of right-aligned ones."""
    table = [*([header] if header is not None else []), *rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, strict=True)
        return "  ".join(cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(cells)).rstrip()

    return [line(row) for row in table]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
