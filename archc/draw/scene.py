"""Boxes, lines and text with coordinates in pixels, x to the right and y downward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from archc.draw.fonts import ASCENT, DESCENT, text_width

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""x, y, width and height."""


@dataclass(frozen=True)
class Rect:
    """A rectangle; `style` is the class of its colors."""

    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 5


@dataclass(frozen=True)
class Boxes:
    """Many small rectangles of one style."""

    boxes: tuple[Box, ...]
    style: str


@dataclass(frozen=True)
class Label:
    """A line of text at a baseline; `anchor` is the place of x in the text."""

    x: float
    y: float
    text: str
    size: float = 11
    anchor: str = "start"
    style: str = "ink"
    bold: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        width = text_width(self.text, self.size, self.bold)
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - ASCENT * self.size, left + width, self.y + DESCENT * self.size


@dataclass(frozen=True)
class Line:
    """A polyline with rounded corners, and an arrowhead at its end if `arrow` is set."""

    points: tuple[Point, ...]
    style: str = "flow"
    arrow: bool = False


@dataclass(frozen=True)
class Sign:
    """A circle with a plus or a dot."""

    x: float
    y: float
    radius: float
    symbol: str  # "+" for a sum, "" for the start of a branch


@dataclass(frozen=True)
class Group:
    """Items that belong to one block, with its name and its description."""

    name: str
    title: str
    items: tuple[Item, ...]


Item = Rect | Boxes | Label | Line | Sign | Group


@dataclass
class Drawing:
    """Items within a width and a height, placed into others."""

    width: float = 0
    height: float = 0
    items: list[Item] = field(default_factory=list)

    def add(self, *items: Item) -> None:
        """Append items."""
        self.items.extend(items)

    def place(self, other: Drawing, x: float, y: float) -> None:
        """Append the items of another drawing, moved by x and y."""
        self.items.extend(moved(item, x, y) for item in other.items)

    def group(self, name: str, title: str) -> Drawing:
        """Return a drawing of the same size whose items are one group."""
        return Drawing(self.width, self.height, [Group(name, title, tuple(self.items))])


def moved(item: Item, x: float, y: float) -> Item:
    """Return an item moved by x and y."""
    match item:
        case Group():
            return replace(item, items=tuple(moved(inner, x, y) for inner in item.items))
        case Boxes():
            return replace(item, boxes=tuple((bx + x, by + y, width, height) for bx, by, width, height in item.boxes))
        case Line():
            return replace(item, points=tuple((px + x, py + y) for px, py in item.points))
        case _:
            return replace(item, x=item.x + x, y=item.y + y)


def flat(items: Iterable[Item]) -> Iterator[Rect | Boxes | Label | Line | Sign]:
    """Yield the items of all groups."""
    for item in items:
        if isinstance(item, Group):
            yield from flat(item.items)
        else:
            yield item
