"""Graphics inside of a block: heads in groups, and experts in a grid."""

from __future__ import annotations

from archc.draw.describe.blocks import Grid, Heads
from archc.draw.layout.measures import SMALL
from archc.draw.scene import Boxes, Drawing, Label, Line, Rect

_NAMES = 24  # width of the names at the left
_HEAD_HEIGHT = 10
_MOST_IN_ROW = 32
_SHARED = 52


def heads(row: Heads, kind: str, width: float) -> Drawing:
    """Return query heads as boxes, and below each group the key/value head that it shares."""
    area = width - _NAMES
    per_group = row.queries // row.keys if row.queries % row.keys == 0 else row.queries
    groups = row.queries // per_group
    in_row = max(1, min(groups, _MOST_IN_ROW // per_group))
    columns = -(-per_group // -(-per_group // (2 * _MOST_IN_ROW)))
    count = in_row * columns
    group_gap = 0 if per_group == 1 else 4
    unit = min(14.0, (area - group_gap * (in_row - 1)) / count)
    span = columns * unit
    rows_in_group = -(-per_group // columns)
    drawing = Drawing(width)
    y = 0.0
    left = _NAMES + (area - in_row * span - (in_row - 1) * group_gap) / 2
    for start in range(0, groups, in_row):
        shown = range(min(in_row, groups - start))
        drawing.add(Label(0, y + _HEAD_HEIGHT - 1, "Q", SMALL, style="muted"))
        boxes = tuple(
            (
                left + place * (span + group_gap) + index % columns * unit,
                y + index // columns * (_HEAD_HEIGHT + 1),
                unit - 1,
                _HEAD_HEIGHT,
            )
            for place in shown
            for index in range(per_group)
        )
        drawing.add(Boxes(boxes, f"{kind} query"))
        y += rows_in_group * (_HEAD_HEIGHT + 1) + 2
        if row.latent is not None:
            continue
        drawing.add(Label(0, y + 4 + _HEAD_HEIGHT - 1, "K V", SMALL, style="muted"))
        keys: list[tuple[float, float, float, float]] = []
        for place in shown:
            x = left + place * (span + group_gap)
            if per_group > 1:
                drawing.add(Line(((x, y), (x, y + 2), (x + span - 1, y + 2), (x + span - 1, y)), "brace"))
            keys.append((x + (span - unit) / 2, y + 4, unit - 1, _HEAD_HEIGHT))
        drawing.add(Boxes(tuple(keys), f"{kind} key"))
        y += _HEAD_HEIGHT + 4 + 6
    if row.latent is not None:
        y = _latent(drawing, row.latent, kind, left, in_row * (span + group_gap) - group_gap, y)
    drawing.height = y - 6
    return drawing


def _latent(drawing: Drawing, widths: tuple[int, int], kind: str, left: float, area: float, y: float) -> float:
    """Draw the latent and the rope key, if there is one, in proportion below all heads; return the y below them."""
    latent, rope = widths
    second = max(26.0, (area - 3) * rope / (latent + rope)) if rope else -3.0
    first = area - 3 - second
    drawing.add(Label(0, y + 12, "KV", SMALL, style="muted"))
    drawing.add(Line(((left, y), (left, y + 2), (left + area, y + 2), (left + area, y)), "brace"))
    for x, width, number in ((left, first, latent), (left + first + 3, second, rope)):
        if not number:
            continue
        drawing.add(Rect(x, y + 4, width, 15, f"{kind} key", 2))
        drawing.add(Label(x + width / 2, y + 15, str(number), SMALL, "middle", "onkey"))
    return y + 19 + 6


def grid(row: Grid, kind: str, width: float) -> Drawing:
    """Return experts as squares, those of one token filled; the shared expert is at the right."""
    area = width - (_SHARED if row.shared else 0)
    columns = min(row.experts, 16 if row.experts <= 64 else 32 if row.experts <= 1024 else 64)
    size = row.experts // row.groups
    if row.groups > 1 and size <= columns:
        columns -= columns % size  # whole groups in each row
    unit = min(13.0, area / columns)
    rows = -(-row.experts // columns)
    side = unit - (1.5 if unit > 5 else 0.7)
    chosen = _chosen(row)
    left = (area - columns * unit) / 2
    drawing = Drawing(width, rows * unit)
    squares = [(left + i % columns * unit, i // columns * unit, side, side) for i in range(row.experts)]
    drawing.add(Boxes(tuple(box for i, box in enumerate(squares) if i not in chosen), f"{kind} off"))
    drawing.add(Boxes(tuple(box for i, box in enumerate(squares) if i in chosen), f"{kind} on"))
    if row.shared:
        drawing.height = max(drawing.height, 26)
        middle = drawing.height / 2
        drawing.add(Rect(width - _SHARED / 2 - 6, middle - 13, 12, 12, f"{kind} on", 1))
        drawing.add(Label(width - _SHARED / 2, middle + 11, "shared", SMALL, "middle", "muted"))
    return drawing


def _chosen(row: Grid) -> set[int]:
    """Return the experts of an imaginary token, spread over the chosen groups."""
    size = row.experts // row.groups
    chosen: set[int] = set()
    for number in range(row.chosen):
        group = number % row.chosen_groups * row.groups // row.chosen_groups
        place = (number // row.chosen_groups * size * row.chosen_groups // row.chosen + 5 * number + 1) % size
        while group * size + place in chosen:
            place = (place + 1) % size
        chosen.add(group * size + place)
    return chosen
