"""A line chart of one number by length, with linear axes from zero."""

from __future__ import annotations

from collections.abc import Sequence

from archc.draw.layout.measures import SMALL
from archc.draw.scene import Drawing, Label, Line, Point

HEIGHT = 92
_TOP, _PLOT = 34, 44  # the texts above the plot, and its height


def line_chart(title: str, points: Sequence[Point], most: str, longest: str, width: float) -> Drawing:
    """Return the chart of points by length; `most` and `longest` are the texts of the ends of both axes."""
    drawing = Drawing(width, HEIGHT)
    bottom = _TOP + _PLOT
    drawing.add(Label(0, 10, title, SMALL, style="muted"), Label(0, 26, most, SMALL))
    drawing.add(Line(((0, _TOP), (0, bottom)), "brace"), Line(((0, bottom), (width, bottom)), "brace"))
    longest_x, most_y = max(x for x, _ in points), max(y for _, y in points) or 1
    scaled = [(width * x / longest_x, bottom - _PLOT * y / most_y) for x, y in points]
    drawing.add(Line(tuple(scaled), "curve"))
    drawing.add(Label(0, bottom + 13, "0", SMALL, style="muted"))
    drawing.add(Label(width, bottom + 13, longest, SMALL, "end", "muted"))
    return drawing
