"""The values in which two models differ, as a table of three columns."""

from __future__ import annotations

from collections.abc import Sequence

from archc.draw.changes import Difference
from archc.draw.fonts import shortened
from archc.draw.layout.measures import SMALL, TEXT
from archc.draw.scene import Drawing, Label

MOST = 24
_LINE = 18


def draw_differences(rows: Sequence[Difference], titles: Sequence[str], width: float) -> Drawing:
    """Return the table of a width, with the names of the two models as its header."""
    drawing = Drawing(width)
    drawing.add(Label(0, 12, "Differences", 13, bold=True))
    starts = (0.0, width * 0.4, width * 0.7)
    ends = (*starts[1:], width)
    y = 34.0
    for x, end, title in zip(starts[1:], ends[1:], titles, strict=True):
        drawing.add(Label(x, y, shortened(title, end - x - 16, SMALL), SMALL, style="muted"))
    for row in rows[:MOST]:
        y += _LINE
        for x, end, text, style in zip(
            starts, ends, (row.path, row.a, row.b), ("ink", "changed", "changed"), strict=True
        ):
            drawing.add(Label(x, y, shortened(text, end - x - 16, TEXT), TEXT, style=style))
    y += _LINE
    if len(rows) > MOST:
        drawing.add(Label(0, y, f"and {len(rows) - MOST} more", TEXT, style="muted"))
    elif not rows:
        drawing.add(Label(0, y, "none", TEXT, style="muted"))
    drawing.height = y
    return drawing
