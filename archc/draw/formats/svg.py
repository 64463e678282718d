"""A scene as SVG: text that can be selected, colors for light and dark, no scripts and no references outside."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from archc.draw.formats.colors import style_sheet
from archc.draw.scene import Boxes, Drawing, Group, Item, Label, Line, Rect, Sign

_CORNER = 6.0
_ARROW = 5.0
_CLASSES = re.compile(r'class="([^"]*)"')
# Characters that XML 1.0 does not contain in any form.
_INVALID = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_svg(sheet: Drawing, title: str, style: bool = True) -> str:
    """Return the document of a scene; without `style`, the style sheet is that of the page around it."""
    width, height = _number(sheet.width), _number(sheet.height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label={_attribute(title)}>',
        f"<title>{clean(title)}</title>",
    ]
    body = [f'<rect class="page" width="{width}" height="{height}"/>', *_items(sheet.items), "</svg>"]
    if style:
        used = {name for line in body for names in _CLASSES.findall(line) for name in names.split()}
        lines.append(f"<style>\n{style_sheet(used)}</style>")
    return "\n".join([*lines, *body]) + "\n"


def clean(text: str) -> str:
    """Return text escaped for XML, without characters that XML does not permit."""
    return escape(_INVALID.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_INVALID.sub("\ufffd", text))


def _items(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        match item:
            case Group():
                yield f"<g id={_attribute(item.name)}><title>{clean(item.title)}</title>"
                yield from _items(item.items)
                yield "</g>"
            case Rect():
                yield (
                    f'<rect class="{item.style}" x="{_number(item.x)}" y="{_number(item.y)}" '
                    f'width="{_number(item.width)}" height="{_number(item.height)}" rx="{_number(item.radius)}"/>'
                )
            case Boxes():
                data = "".join(_box(*box) for box in item.boxes)
                yield f'<path class="{item.style}" d="{data}"/>'
            case Label():
                yield _label(item)
            case Line():
                yield from _line(item)
            case Sign():
                yield from _sign(item)


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"M{_number(x)} {_number(y)}h{_number(width)}v{_number(height)}h{_number(-width)}z"


def _label(label: Label) -> str:
    anchor = "" if label.anchor == "start" else f' text-anchor="{label.anchor}"'
    style = f"{label.style} bold" if label.bold else label.style
    place = f'x="{_number(label.x)}" y="{_number(label.y)}" font-size="{_number(label.size)}"'
    return f'<text class="{style}" {place}{anchor}>{clean(label.text)}</text>'


def _line(line: Line) -> Iterator[str]:
    points = list(line.points)
    if line.arrow:
        (px, py), (x, y) = points[-2:]
        dx, dy = (x > px) - (x < px), (y > py) - (y < py)
        points[-1] = (x - dx * _ARROW, y - dy * _ARROW)
    yield f'<path class="{line.style}" d="{_path(points, 0 if line.style == "curve" else _CORNER)}"/>'
    if line.arrow:
        half = _ARROW * 0.7
        back, across = (x - dx * _ARROW * 1.3, y - dy * _ARROW * 1.3), (dy * half, dx * half)
        corners = ((x, y), (back[0] + across[0], back[1] + across[1]), (back[0] - across[0], back[1] - across[1]))
        style = "head-arrow" if line.style in ("flow", "tie") else line.style.replace("inner", "arrow")
        data = "L".join(f"{_number(cx)} {_number(cy)}" for cx, cy in corners)
        yield f'<path class="{style}" d="M{data}Z"/>'


def _path(points: list[tuple[float, float]], corner_radius: float) -> str:
    """Return a path along the points, with rounded corners."""
    data = f"M{_number(points[0][0])} {_number(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        if not corner_radius:
            data += f"L{_number(corner[0])} {_number(corner[1])}"
            continue
        radius = min(corner_radius, _distance(before, corner) / 2, _distance(corner, after) / 2)
        start, end = _toward(corner, before, radius), _toward(corner, after, radius)
        data += f"L{_number(start[0])} {_number(start[1])}"
        data += f"Q{_number(corner[0])} {_number(corner[1])} {_number(end[0])} {_number(end[1])}"
    return f"{data}L{_number(points[-1][0])} {_number(points[-1][1])}"


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _toward(a: tuple[float, float], b: tuple[float, float], length: float) -> tuple[float, float]:
    distance = _distance(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * length / distance, a[1] + (b[1] - a[1]) * length / distance


def _sign(sign: Sign) -> Iterator[str]:
    x, y, radius = (_number(value) for value in (sign.x, sign.y, sign.radius))
    yield f'<circle class="{"sign" if sign.symbol else "dot"}" cx="{x}" cy="{y}" r="{radius}"/>'
    if sign.symbol:
        arm = sign.radius - 3.5
        across = f"M{_number(sign.x - arm)} {y}L{_number(sign.x + arm)} {y}"
        down = f"M{x} {_number(sign.y - arm)}L{x} {_number(sign.y + arm)}"
        yield f'<path class="flow" d="{across}{down}"/>'


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
