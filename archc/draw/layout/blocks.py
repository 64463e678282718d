"""One block as a drawing: title and tags at the top, rows below, from the input at the bottom upward."""

from __future__ import annotations

from collections.abc import Collection

from archc.draw.changes import Changes
from archc.draw.describe.blocks import Block, Formula, Grid, Heads, Pair, Row, Step
from archc.draw.fonts import shortened, text_width, wrap_parts
from archc.draw.layout.graphics import grid, heads
from archc.draw.layout.measures import BLOCK, PAD, SMALL, TEXT, TITLE
from archc.draw.scene import Drawing, Label, Line, Rect

_ROW, _LINE, _GAP, _LOOP = 22, 14, 8, 22
_TAG = 17


def draw_block(block: Block, prefix: str, changes: Changes, width: float = BLOCK) -> Drawing:
    """Return a block of a width; texts in `changes` of its id have the color of differences."""
    inner = width - 2 * PAD
    changed = changes.get(f"{prefix}{block.name}", ())
    head = _header(block, inner, changed)
    parts = [head]
    if block.tags:
        parts.append(_tags(block, inner, changed))
    if block.rows:
        parts.append(_rows(block, inner, changed))
    height = sum(part.height for part in parts) + 7 * (len(parts) - 1) + 2 * (9 if len(parts) > 1 else 6)
    drawing = Drawing(width, height)
    style = f"{block.kind} block" + (" changed" if block.title in changed else "")
    drawing.add(Rect(0, 0, width, height, style, 6))
    y = 9.0 if len(parts) > 1 else 6.0
    for part in parts:
        drawing.place(part, PAD, y)
        y += part.height + 7
    title = "; ".join([block.title, *block.texts()])
    return drawing.group(f"{prefix}{block.name}", title)


def _style(text: str, changed: Collection[str], style: str = "ink") -> str:
    return "changed" if text in changed else style


def _header(block: Block, inner: float, changed: Collection[str]) -> Drawing:
    """Return title and note on one line, or one below the other if they are too long."""
    plain = block.kind == "norm"
    note_width = text_width(block.note, SMALL)
    title_style = _style(block.title, changed)
    if text_width(block.title, TITLE, not plain) + note_width + 12 <= inner:
        drawing = Drawing(inner, 15)
        drawing.add(Label(0, 12, block.title, TITLE, style=title_style, bold=not plain))
        if block.note:
            drawing.add(Label(inner, 12, block.note, SMALL, "end", _style(block.note, changed, "muted")))
        return drawing
    drawing = Drawing(inner, 30)
    middle = inner / 2
    title = shortened(block.title, inner, TITLE, bold=True)
    drawing.add(Label(middle, 12, title, TITLE, "middle", title_style, bold=not plain))
    note = shortened(block.note, inner, SMALL)
    drawing.add(Label(middle, 27, note, SMALL, "middle", _style(block.note, changed, "muted")))
    return drawing


def _tags(block: Block, inner: float, changed: Collection[str]) -> Drawing:
    """Return the tags as rounded boxes, in as many lines as they need."""
    drawing = Drawing(inner)
    x = y = 0.0
    for tag in block.tags:
        text = shortened(tag, inner - 12, SMALL)
        width = text_width(text, SMALL) + 12
        if x and x + width > inner:
            x, y = 0.0, y + _TAG + 4
        drawing.add(Rect(x, y, width, _TAG, f"{block.kind} tag", _TAG / 2))
        drawing.add(Label(x + width / 2, y + 12, text, SMALL, "middle", _style(tag, changed)))
        x += width + 5
    drawing.height = y + _TAG
    return drawing


def _rows(block: Block, inner: float, changed: Collection[str]) -> Drawing:
    """Return the rows with lines between them, the first at the bottom."""
    drawing = Drawing(inner)
    parts = [_row(row, block, inner, changed) for row in block.rows]
    y = 0.0
    for index in reversed(range(len(parts))):
        drawing.place(parts[index], 0, y)
        y += parts[index].height
        if index:
            below, above = block.rows[index - 1], block.rows[index]
            for x in _outlets(below, above, inner):
                drawing.add(Line(((x, y + _GAP), (x, y)), f"{block.kind} inner"))
            y += _GAP
    drawing.height = y
    return drawing


def _outlets(below: Row, above: Row, inner: float) -> tuple[float, ...]:
    """Return where lines connect two rows; graphics without an outline have none."""
    if isinstance(below, Heads | Grid) or isinstance(above, Heads | Grid):
        return ()
    if isinstance(below, Pair) or isinstance(above, Pair):
        return inner / 4, 3 * inner / 4
    return (inner / 2,)


def _row(row: Row, block: Block, inner: float, changed: Collection[str]) -> Drawing:
    match row:
        case Step():
            return _step(row, block.kind, inner, changed)
        case Pair():
            half = (inner - 8) / 2
            drawing = Drawing(inner)
            for x, text in ((0.0, row.left), (half + 8, row.right)):
                drawing.place(_text_box(text, f"{block.kind} step", half, changed), x, 0)
            drawing.height = _ROW
            return drawing
        case Formula():
            return _text_box(row.text, f"{block.kind} formula", inner, changed, radius=9, height=18)
        case Heads():
            return heads(row, block.kind, inner)
        case Grid():
            return grid(row, block.kind, inner)


def _step(row: Step, kind: str, inner: float, changed: Collection[str]) -> Drawing:
    width = inner - _LOOP if row.loops else inner
    drawing = Drawing(inner)
    box = _text_box(row.text, f"{kind} step", width, changed)
    drawing.place(box, 0, 0)
    drawing.height = box.height
    if row.loops:
        # The state that the next token reads: out of the box and back into it.
        top, bottom, right = box.height / 2 - 5, box.height / 2 + 5, width + _LOOP - 8
        drawing.add(Line(((width, top), (right, top), (right, bottom), (width, bottom)), f"{kind} inner", arrow=True))
    return drawing


def _text_box(
    text: str, style: str, width: float, changed: Collection[str], radius: float = 4, height: float = _ROW
) -> Drawing:
    lines = wrap_parts(text, width - 10, TEXT) or [""]
    drawing = Drawing(width, height + (len(lines) - 1) * _LINE)
    drawing.add(Rect(0, 0, width, drawing.height, style, radius))
    for number, line in enumerate(lines):
        y = height / 2 + 4 + number * _LINE
        drawing.add(Label(width / 2, y, line, TEXT, "middle", _style(text, changed)))
    return drawing
