"""The strip of a stack: a small cell for each layer, colored by its mixer and its MLP, and the headings of kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from archc.draw.describe.blocks import MOST_VARIANTS, Cell, LayerKind, Stack, Variant
from archc.draw.fonts import text_width, wrap, wrap_parts
from archc.draw.layout.measures import SMALL, TEXT
from archc.draw.scene import Box, Boxes, Drawing, Label
from archc.layer_ranges import shortened_ranges

_CELL = 11
_LEAST, _MOST = 8.0, 13.0  # from one cell to the next
_MIXER, _MLP = 12, 8
_NUMBER = 26  # width of the layer numbers at the left


def draw_strip(cells: Sequence[Cell], width: float) -> Drawing:
    """Return the cells in rows of whole periods of their pattern, with the number of each row's first layer."""
    area = width - _NUMBER
    rows = -(-len(cells) // int(area / _LEAST))
    period = _period(cells)
    in_row = -(-len(cells) // rows)
    in_row = -(-in_row // period) * period if rows > 1 and period * _LEAST <= area / 2 else in_row
    step = min(_MOST, area / in_row)
    drawing = Drawing(width)
    looks = {(cell.letter, cell.mixer, cell.mlp) for cell in cells}
    # Kinds that have the same colors differ by their letters.
    has_letters = len({look[1:] for look in looks}) < len(looks)
    boxes: dict[str, list[Box]] = {}
    y = 0.0
    for start in range(0, len(cells), in_row):
        y += 11 * has_letters
        drawing.add(Label(_NUMBER - 6, y + 15, str(start), SMALL, "end", "muted"))
        for place, cell in enumerate(cells[start : start + in_row]):
            x = _NUMBER + place * step
            for style, box in _parts(cell, x, y, step - 2):
                boxes.setdefault(style, []).append(box)
            if has_letters:
                drawing.add(Label(x + step / 2 - 1, y - 3, cell.letter, 8, "middle", "muted"))
        y += _MIXER + _MLP + 7
    drawing.items += [Boxes(tuple(group), style) for style, group in boxes.items()]
    drawing.height = y - 6
    return drawing


def draw_cell(cell: Cell, x: float, y: float, width: float = _CELL) -> list[Boxes]:
    """Return the boxes of a layer: the mixer above the MLP, or one of them with the height of both."""
    return [Boxes((box,), style) for style, box in _parts(cell, x, y, width)]


def _parts(cell: Cell, x: float, y: float, width: float) -> Iterator[tuple[str, Box]]:
    """Yield the style and the box of each part of a cell."""
    parts = [(cell.mixer, _MIXER, y), (cell.mlp, _MLP, y + _MIXER + 1)]
    if cell.mixer is None or cell.mlp is None:
        parts = [(cell.mixer or cell.mlp or "norm", _MIXER + _MLP + 1, y)]
    for kind, height, top in parts:
        shade = f" shade{cell.shade}" if cell.shade and kind == parts[0][0] else ""
        yield f"{kind} cell{shade}", (x, top, width, height)


def draw_heading(stack: Stack, kind: LayerKind, width: float, changed: Collection[str]) -> Drawing:
    """Return the heading of a kind: its cell, its layers, and a line for each variant."""
    drawing = Drawing(width)
    letter = kind.letter if len(stack.kinds) > 1 else ""
    first = min((stack.cells[index] for index in kind.layers), key=lambda cell: cell.shade)
    drawing.items += draw_cell(first, 0, -2)
    x = _CELL + 7.0
    for text in (letter, f"× {len(kind.layers)}"):
        if text:
            drawing.add(Label(x, 13, text, 13, bold=True))
            x += text_width(text, 13, bold=True) + 6
    if len(stack.kinds) > 1:
        drawing.add(Label(width, 13, _layers(kind.layers), SMALL, "end", "muted"))
    y = 26.0
    if len(kind.variants) > MOST_VARIANTS:
        drawing.add(Label(_CELL + 7, y + 10, "values differ by layer: ranges below", SMALL))
        y += 20
    else:
        for variant in kind.variants:
            y = _variant(drawing, stack, variant, y, changed)
    drawing.height = y - 6
    return drawing


def _variant(drawing: Drawing, stack: Stack, variant: Variant, y: float, changed: Collection[str]) -> float:
    """Write the lines of a variant, and return the y below them."""
    drawing.items += draw_cell(stack.cells[variant.layers[0]], 0, y - 2)
    left = _CELL + 7.0
    count = f"{len(variant.layers)} ×"
    drawing.add(Label(left, y + 10, count, TEXT, bold=True))
    left += text_width(count, TEXT, bold=True) + 6
    style = "changed" if any(text in changed for text in variant.texts) else "ink"
    room = drawing.width - left
    lines = [(line, style) for line in wrap_parts(" · ".join(variant.texts), room, TEXT)]
    note = _layers(variant.layers)
    if lines and text_width(lines[-1][0], TEXT) + 10 + text_width(note, SMALL) <= room:
        drawing.add(Label(drawing.width, y + 10 + 14 * (len(lines) - 1), note, SMALL, "end", "muted"))
    else:
        lines += [(line, "muted") for line in wrap(note, room, TEXT)]
    for number, (line, own) in enumerate(lines):
        drawing.add(Label(left, y + 10 + 14 * number, line, TEXT, style=own))
    return y + max(26, 14 * len(lines) + 8)


def _layers(layers: Sequence[int]) -> str:
    return f"layer{'s' * (len(layers) > 1)} {shortened_ranges(layers)}"


def _period(cells: Sequence[Cell]) -> int:
    """Return the length of the pattern that the cells repeat, apart from a last incomplete repetition."""
    return next(p for p in range(1, len(cells) + 1) if all(cells[i] == cells[i - p] for i in range(p, len(cells))))
