"""One kind of layer: branches with their norms, sums and skip connections, from the bottom upward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from archc.draw.describe.blocks import Block, Branch, LayerKind
from archc.draw.layout.measures import BLOCK, GAP, GUTTER, PLUS, RISE, SMALL
from archc.draw.scene import Drawing, Label, Line, Point, Sign

Draw = Callable[[Block], Drawing]


@dataclass
class Card:
    """The drawing of a layer, and the point at the left of its cross-attention."""

    drawing: Drawing
    cross: Point | None = None


@dataclass
class Riser:
    """A flow upward from y = 0, along x; the drawing has negative y."""

    x: float
    y: float = 0.0
    drawing: Drawing = field(default_factory=Drawing)
    start: float | None = None
    cross: Point | None = None

    def __post_init__(self) -> None:
        if self.start is None:
            self.start = self.y

    def rise(self, length: float) -> None:
        """Continue the line."""
        self.y -= length

    def end_line(self, arrow: bool) -> None:
        """Draw the line since the last block."""
        assert self.start is not None
        if self.start != self.y:
            self.drawing.add(Line(((self.x, self.start), (self.x, self.y)), arrow=arrow))
        self.start = self.y

    def block(self, drawing: Drawing, rise: float = RISE) -> None:
        """Draw an arrow, and a block at its end."""
        self.rise(rise)
        self.end_line(arrow=True)
        self.y -= drawing.height
        self.drawing.place(drawing, self.x - drawing.width / 2, self.y)
        self.start = self.y

    def fork(self) -> float:
        """Draw the start of a branch, and return its y."""
        self.drawing.add(Sign(self.x, self.y, 2.5, ""))
        return self.y

    def plus(self, rise: float = RISE) -> float:
        """Draw an arrow and a sum at its end, and return the y of its center."""
        self.rise(rise)
        self.end_line(arrow=True)
        center = self.y - PLUS
        self.drawing.add(Sign(self.x, center, PLUS, "+"))
        self.y = self.start = center - PLUS
        return center

    def factor(self, text: str) -> None:
        """Write a factor next to the line."""
        if text:
            self.rise(18)
            self.drawing.add(Label(self.x + 7, self.y + 8, text, SMALL, style="muted"))

    def skip(self, fork: float, center: float, right: float, text: str) -> None:
        """Draw a skip connection around a branch, along x = right."""
        points = ((self.x, fork), (right, fork), (right, center), (self.x + PLUS, center))
        self.drawing.add(Line(points, arrow=True))
        if text:
            self.drawing.add(Label(right - 5, center - 4, f"skip {text}", SMALL, "end", "muted"))


def draw_card(kind: LayerKind, draw: Draw, width_text: str, height: float = 0) -> Card:
    """Return the drawing of a layer of at least that height.

    `draw` draws one block, `width_text` is the width of the residual stream.
    """
    parallel = kind.arrangement == "parallel" and len(kind.branches) > 1
    inner = 2 * BLOCK + GAP if parallel else BLOCK
    riser = Riser(GUTTER + inner / 2)
    right = GUTTER + inner + GUTTER / 2 + 2
    riser.drawing.add(Label(riser.x + 7, -4, width_text, SMALL, style="muted"))
    riser.rise(RISE)
    rest = list(kind.branches)
    if parallel:
        _parallel(riser, kind, draw, right)
        rest = rest[2:]
    for branch in rest:
        _sequential(riser, kind, branch, draw, right)
    for block in kind.extras:
        riser.block(draw(block))
    if kind.output_scale:
        riser.block(draw(Block("output_scale", "norm", "× learned number", "layer output")))
    riser.rise(max(RISE + 6, height + riser.y))
    riser.end_line(arrow=True)
    width = inner + 2 * GUTTER
    drawing = Drawing(width, -riser.y)
    drawing.place(riser.drawing, 0, -riser.y)
    cross = (riser.cross[0], riser.cross[1] - riser.y) if riser.cross is not None else None
    return Card(drawing, cross)


def _sequential(riser: Riser, kind: LayerKind, branch: Branch, draw: Draw, right: float) -> None:
    riser.rise(RISE)
    fork = riser.y
    if not kind.skips_norm:
        riser.fork()
    if branch.before is not None and not kind.norms_after_sum:
        riser.block(draw(branch.before))
        if kind.skips_norm:
            riser.rise(10)
            fork = riser.fork()
    _body(riser, branch, draw)
    riser.factor(branch.scale)
    center = riser.plus()
    riser.skip(fork, center, right, branch.skip_scale)
    if branch.before is not None and kind.norms_after_sum:
        riser.block(draw(branch.before))


def _body(riser: Riser, branch: Branch, draw: Draw) -> None:
    body = draw(branch.body)
    riser.block(body)
    if branch.body.kind == "cross":
        riser.cross = (riser.x - body.width / 2, riser.y + body.height / 2)
    if branch.after is not None:
        riser.block(draw(branch.after))


def _parallel(riser: Riser, kind: LayerKind, draw: Draw, right: float) -> None:
    """Draw two branches next to each other: both read the same input, and their outputs are added to it."""
    riser.rise(10)
    fork = riser.fork()
    if kind.shared_norm is not None:
        riser.block(draw(kind.shared_norm))
    riser.rise(RISE)
    riser.end_line(arrow=False)
    split, columns = riser.y, []
    offset = (BLOCK + GAP) / 2
    for x, branch in zip((riser.x - offset, riser.x + offset), kind.branches[:2], strict=True):
        riser.drawing.add(Line(((riser.x, split), (x, split), (x, split - RISE)), arrow=True))
        column = Riser(x, split - RISE)
        if branch.before is not None:
            column.block(draw(branch.before), rise=0)
            _body(column, branch, draw)
        else:
            body = draw(branch.body)
            column.block(body, rise=0)
            if branch.after is not None:
                column.block(draw(branch.after))
        riser.drawing.place(column.drawing, 0, 0)
        columns.append(column)
    center = min(column.y for column in columns) - RISE - PLUS
    for column, side in zip(columns, (-PLUS, PLUS), strict=True):
        riser.drawing.add(Line(((column.x, column.y), (column.x, center), (riser.x + side, center)), arrow=True))
    riser.drawing.add(Sign(riser.x, center, PLUS, "+"))
    riser.y = riser.start = center - PLUS
    first = kind.branches[0]
    riser.factor(first.scale)
    riser.skip(fork, riser.plus(), right, first.skip_scale)
