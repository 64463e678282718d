"""The file of a figure: its format by its suffix, and its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.console import UsageError

if TYPE_CHECKING:
    from archc.cli.draw.subject import Subject

FORMATS = (".svg", ".html", ".md")


def check_output(out: Path | None, force: bool) -> None:
    """Raise UsageError for a suffix that no format has, and for a file that exists."""
    if out is None or str(out) == "-":
        return
    if out.suffix not in FORMATS:
        raise UsageError(f"-o {out}: expected a name that ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    if out.exists() and not force:
        raise UsageError(f"{out}: the file exists; choose another name, or replace it with --force")


def render(subjects: Sequence[Subject], suffix: str) -> str:
    """Return the figure of one model, or of two with their differences, in the format of a suffix."""
    from archc.draw.comparison import changed_texts, differences
    from archc.draw.describe.model import describe_model
    from archc.draw.figure import Figure, Panel

    models = [describe_model(subject.bound, subject.totals.parameters) for subject in subjects]
    panels = [
        Panel(model, subject.totals, changed_texts(model, models[1 - index]) if len(models) > 1 else {})
        for index, (model, subject) in enumerate(zip(models, subjects, strict=True))
    ]
    rows = differences(subjects[0].bound, subjects[1].bound) if len(subjects) > 1 else []
    return Figure(tuple(panels), tuple(rows)).render(suffix)
