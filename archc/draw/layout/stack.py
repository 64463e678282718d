"""One stack: tables at the bottom, the layers in a frame, final norm and head at the top."""

from __future__ import annotations

from dataclasses import dataclass

from archc.draw.changes import Changes
from archc.draw.describe.blocks import Block, LayerKind, Stack
from archc.draw.fonts import text_width
from archc.draw.layout.blocks import draw_block
from archc.draw.layout.card import Card, Riser, draw_card
from archc.draw.layout.measures import BLOCK, GAP, PAD, PLUS, RISE, SMALL, TEXT, TITLE
from archc.draw.layout.strip import draw_heading, draw_strip
from archc.draw.scene import Drawing, Label, Line, Point, Rect, Sign

_TIE = 26  # room at the right for the line of a tied head
_TABLE_GAP = 10
_MOST_CARDS = 3  # cards in a row


@dataclass
class Column:
    """The drawing of a stack, the top of its flow, and the point of the first cross-attention."""

    drawing: Drawing
    top: Point
    cross: Point | None


def draw_stack(stack: Stack, prefix: str, changes: Changes) -> Column:
    """Return the drawing of a stack; ids begin with `prefix`."""
    frame, frame_cross = _frame(stack, prefix, changes)
    width = max(frame.width, _tables_width(stack))
    riser = Riser(width / 2)
    source = Label(riser.x, -3, "token ids", TEXT, "middle", "muted")
    riser.drawing.add(source)
    riser.y = riser.start = -18.0
    table = _tables(riser, stack, prefix, changes)
    for block in stack.after_sum:
        riser.block(draw_block(block, prefix, changes))
    riser.rise(4)
    riser.block(frame, rise=RISE + 8)
    frame_top = riser.y
    riser.drawing.add(Label(riser.x + 8, frame_top + frame.height + 15, stack.width, SMALL, style="muted"))
    if stack.final_norm is not None:
        riser.drawing.add(Label(riser.x + 8, riser.y - 8, stack.width, SMALL, style="muted"))
        riser.rise(8)
        riser.block(draw_block(stack.final_norm, prefix, changes))
    head = _ends(riser, stack, prefix, changes, frame.width)
    if stack.ties_head:
        right = width + _TIE / 2
        (table_x, table_y), (head_x, head_y) = table, head
        riser.drawing.add(Line(((table_x, table_y), (right, table_y), (right, head_y), (head_x, head_y)), "tie"))
        width += _TIE
    drawing = Drawing(width, -riser.y)
    drawing.place(riser.drawing, 0, -riser.y)
    cross = None
    if frame_cross is not None:
        cross = (riser.x - frame.width / 2 + frame_cross[0], frame_top + frame_cross[1] - riser.y)
    return Column(drawing, (riser.x, 0.0), cross)


def _ends(riser: Riser, stack: Stack, prefix: str, changes: Changes, width: float) -> Point:
    """Draw head and pooler, next to each other if there are both; return the middle of the head's right side."""
    if not stack.ends:
        return (riser.x, riser.y)
    if len(stack.ends) == 1:
        end = stack.ends[0]
        side = (riser.x, riser.y)
        if end.block is not None:
            drawing = draw_block(end.block, prefix, changes)
            riser.block(drawing)
            side = (riser.x + drawing.width / 2, riser.y + drawing.height / 2)
        riser.rise(RISE + 6)
        riser.end_line(arrow=True)
        riser.drawing.add(Label(riser.x, riser.y - 7, end.outcome, TEXT, "middle", "muted"))
        riser.y -= 20
        return side
    each = (width - GAP) / 2
    riser.rise(RISE)
    riser.end_line(arrow=False)
    tops, side = [], (riser.x, riser.y)
    # The head is at the right, next to the line of a tie.
    for sign, end in zip((1, -1), stack.ends, strict=True):
        assert end.block is not None
        drawing = draw_block(end.block, prefix, changes, each)
        column = Riser(riser.x + sign * (each + GAP) / 2, riser.y - RISE)
        turn = ((riser.x, riser.y), (column.x, riser.y), (column.x, column.y))
        riser.drawing.add(Line(turn, arrow=True))
        column.block(drawing, rise=0)
        if end is stack.ends[0]:
            side = (column.x + each / 2, column.y + drawing.height / 2)
        column.rise(RISE + 6)
        column.end_line(arrow=True)
        column.drawing.add(Label(column.x, column.y - 7, end.outcome, TEXT, "middle", "muted"))
        riser.drawing.place(column.drawing, 0, 0)
        tops.append(column.y - 20)
    riser.y = min(tops)
    return side


def _tables(riser: Riser, stack: Stack, prefix: str, changes: Changes) -> Point:
    """Draw the tables that are added; return the middle of the right side of the token table."""
    tables = stack.inputs
    if len(tables) == 1:
        drawing = draw_block(tables[0], prefix, changes)
        riser.block(drawing)
        return riser.x + BLOCK / 2, riser.y + drawing.height / 2
    width = _each_table(stack)
    # The token table is at the right, next to the line of a tied head.
    drawings = [draw_block(table, prefix, changes, width) for table in reversed(tables)]
    height = max(drawing.height for drawing in drawings)
    bottom = riser.y
    center = bottom - 2 * RISE - height - PLUS
    for index, drawing in enumerate(drawings):
        column = riser.x + (index - (len(tables) - 1) / 2) * (width + _TABLE_GAP)
        top = bottom - RISE - drawing.height
        riser.drawing.add(Line(((column, bottom), (column, bottom - RISE)), arrow=True))
        riser.drawing.place(drawing, column - width / 2, top)
        if column == riser.x:
            riser.drawing.add(Line(((column, top), (column, center + PLUS)), arrow=True))
        else:
            side = -PLUS if column < riser.x else PLUS
            riser.drawing.add(Line(((column, top), (column, center), (riser.x + side, center)), arrow=True))
    riser.drawing.add(Sign(riser.x, center, PLUS, "+"))
    riser.y = riser.start = center - PLUS
    right = riser.x + (len(tables) - 1) / 2 * (width + _TABLE_GAP) + width / 2
    return right, bottom - RISE - drawings[-1].height / 2


def _each_table(stack: Stack) -> float:
    """Return the width of each of several tables next to each other."""
    return max(104.0, *(_table_width(table) for table in stack.inputs))


def _tables_width(stack: Stack) -> float:
    count = len(stack.inputs)
    return BLOCK if count == 1 else count * _each_table(stack) + (count - 1) * _TABLE_GAP


def _table_width(table: Block) -> float:
    texts = [text_width(table.title, TITLE, bold=True), text_width(table.note, SMALL)]
    return max(*texts, *(text_width(tag, SMALL) + 12 for tag in table.tags), 0.0) + 2 * PAD


def _frame(stack: Stack, prefix: str, changes: Changes) -> tuple[Drawing, Point | None]:
    """Return the layers in a frame: count, strip and a card for each kind."""
    cards = [_card(stack, kind, prefix, changes) for kind in stack.kinds]
    in_row = -(-len(cards) // -(-len(cards) // _MOST_CARDS))
    rows = [cards[start : start + in_row] for start in range(0, len(cards), in_row)]
    inner = max(sum(card.drawing.width for card in row) + GAP * (len(row) - 1) for row in rows)
    drawing = Drawing(inner + 2 * GAP)
    name = f"{stack.name.capitalize()}: {len(stack.cells)} layers" if stack.name else f"{len(stack.cells)} layers"
    drawing.add(Label(GAP, GAP + 10, name, 13, bold=True))
    y = GAP + 20.0
    for note in stack.notes:
        drawing.add(Label(GAP, y + 8, note, TEXT, style="muted"))
        y += 18
    strip = draw_strip(stack.cells, inner)
    drawing.place(strip, GAP, y + 4)
    y += strip.height + 16
    cross = None
    kinds = iter(stack.kinds)
    for row in rows:
        total = sum(card.drawing.width for card in row) + GAP * (len(row) - 1)
        height = max(card.drawing.height for card in row)
        x = GAP + (inner - total) / 2
        for _ in row:
            card = _card(stack, next(kinds), prefix, changes, height)
            drawing.place(card.drawing, x, y)
            if card.cross is not None and cross is None:
                cross = (x + card.cross[0], y + card.cross[1])
            x += card.drawing.width + GAP
        y += height + GAP
    drawing.height = y
    drawing.items.insert(0, Rect(0, 0, drawing.width, drawing.height, "frame", 10))
    return drawing, cross


def _card(stack: Stack, kind: LayerKind, prefix: str, changes: Changes, height: float = 0) -> Card:
    """Return a kind's card of at least that height: its layers, the differences among them, and one layer."""
    own = f"{prefix}{kind.prefix}"

    def draw(block: Block) -> Drawing:
        return draw_block(block, own, changes)

    width = draw_card(kind, draw, stack.width).drawing.width
    head = draw_heading(stack, kind, width - 28, changes.get(f"{own}variants", ()))
    top = 10 + head.height + 8
    card = draw_card(kind, draw, stack.width, height - top - 8)
    drawing = Drawing(width, top + card.drawing.height + 8)
    drawing.add(Rect(0, 0, width, drawing.height, "card", 8))
    drawing.place(head, 14, 10)
    drawing.place(card.drawing, 0, top)
    cross = (card.cross[0], card.cross[1] + top) if card.cross is not None else None
    return Card(drawing, cross)
