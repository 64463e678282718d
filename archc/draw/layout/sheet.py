"""A whole figure: title, stacks and numbers; two models are next to each other."""

from __future__ import annotations

from collections.abc import Sequence

from archc.draw.changes import NOTHING, Changes, Difference
from archc.draw.describe.blocks import Model
from archc.draw.fonts import wrap
from archc.draw.layout.differences import draw_differences
from archc.draw.layout.measures import GAP
from archc.draw.layout.panel import PANEL, lengths_section, parameters_section
from archc.draw.layout.stack import Column, draw_stack
from archc.draw.scene import Drawing, Label, Line
from archc.draw.totals import Totals

_MARGIN = 28
_COLUMNS = 64  # between encoder and decoder
_MOST_BESIDE = 680  # the widest stack that has the numbers at its right
_BETWEEN, _BELOW = 64, 36  # around the sections of numbers


def draw_sheet(model: Model, totals: Totals, prefix: str = "", changes: Changes = NOTHING) -> Drawing:
    """Return the figure of a model.

    Ids begin with `prefix`, which one of two models has, and texts in `changes` have the color of differences.
    """
    stacks = _stacks(model, prefix, changes)
    parts = [parameters_section(totals), lengths_section(totals)]
    if stacks.width > _MOST_BESIDE or (prefix and stacks.width >= 2 * PANEL + _BETWEEN):
        body = _below(stacks, _row(parts))
    elif prefix:
        body = _below(stacks, _column(parts))
    else:
        body = _beside(stacks, _column(parts))
    head = _head(model, body.width)
    sheet = Drawing(body.width + 2 * _MARGIN, head.height + body.height + 24 + 2 * _MARGIN)
    sheet.place(head, _MARGIN, _MARGIN)
    sheet.place(body, _MARGIN, _MARGIN + head.height + 24)
    return sheet


def _row(parts: Sequence[Drawing]) -> Drawing:
    drawing = Drawing(-_BETWEEN)
    for part in parts:
        drawing.place(part, drawing.width + _BETWEEN, 0)
        drawing.width += _BETWEEN + part.width
        drawing.height = max(drawing.height, part.height)
    return drawing


def _column(parts: Sequence[Drawing]) -> Drawing:
    drawing = Drawing(max(part.width for part in parts), -_BELOW)
    for part in parts:
        drawing.place(part, 0, drawing.height + _BELOW)
        drawing.height += _BELOW + part.height
    return drawing


def _below(stacks: Drawing, numbers: Drawing) -> Drawing:
    width = max(stacks.width, numbers.width)
    drawing = Drawing(width, stacks.height + _BELOW + numbers.height)
    drawing.place(stacks, (width - stacks.width) / 2, 0)
    drawing.place(numbers, (width - numbers.width) / 2, stacks.height + _BELOW)
    return drawing


def _beside(stacks: Drawing, numbers: Drawing) -> Drawing:
    drawing = Drawing(stacks.width + 48 + numbers.width, max(stacks.height, numbers.height + 6))
    drawing.place(stacks, 0, 0)
    drawing.place(numbers, stacks.width + 48, 6)
    return drawing


def draw_pair(sheets: Sequence[Drawing], titles: Sequence[str], rows: Sequence[Difference]) -> Drawing:
    """Return two figures next to each other, and the values that differ below them."""
    width = sum(sheet.width for sheet in sheets)
    height = max(sheet.height for sheet in sheets)
    drawing = Drawing(width, height)
    drawing.add(Line(((sheets[0].width, _MARGIN), (sheets[0].width, height - _MARGIN)), "brace"))
    x = 0.0
    for sheet in sheets:
        drawing.place(sheet, x, 0)
        x += sheet.width
    table = draw_differences(rows, titles, width - 2 * _MARGIN)
    drawing.place(table, _MARGIN, height)
    drawing.height += table.height + _MARGIN
    return drawing


def _head(model: Model, width: float) -> Drawing:
    """Return the title, the description and the facts, in lines of that width."""
    drawing = Drawing(width)
    y = 0.0
    for text, size, style, bold in (
        (model.title, 20, "ink", True),
        (model.description, 12, "muted", False),
        (model.facts, 12, "ink", False),
    ):
        for line in wrap(text, width, size, bold):
            y += size + 5
            drawing.add(Label(0, y - 3, line, size, style=style, bold=bold))
    drawing.height = y
    return drawing


def _stacks(model: Model, prefix: str, changes: Changes) -> Drawing:
    """Return the stacks next to each other, with the encoder's output as the keys of cross-attention."""
    columns = [draw_stack(stack, f"{prefix}{stack.prefix}", changes) for stack in model.stacks]
    if len(columns) == 1:
        return columns[0].drawing
    encoder, decoder = columns
    lift = 40  # room for the line from the encoder's top
    height = max(encoder.drawing.height + lift, decoder.drawing.height)
    drawing = Drawing(encoder.drawing.width + _COLUMNS + decoder.drawing.width, height)
    left = encoder.drawing.width + _COLUMNS
    drawing.place(encoder.drawing, 0, height - encoder.drawing.height)
    drawing.place(decoder.drawing, left, height - decoder.drawing.height)
    _connect(drawing, encoder, decoder, left, model.stacks[0].width)
    return drawing


def _connect(drawing: Drawing, encoder: Column, decoder: Column, left: float, width: str) -> None:
    assert decoder.cross is not None
    x, y = encoder.top[0], drawing.height - encoder.drawing.height
    turn = left - _COLUMNS / 2 + GAP / 2
    end = (left + decoder.cross[0], drawing.height - decoder.drawing.height + decoder.cross[1])
    points = ((x, y), (x, y - 20), (turn, y - 20), (turn, end[1]), end)
    drawing.add(Line(points, "flow", arrow=True))
    drawing.add(Label(x + 8, y - 26, f"hidden states, {width}", 10, style="muted"))
