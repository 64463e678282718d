"""The layout of every shipped spec: nothing overlaps, is cut or is crossed by a line."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from archc.archspec import list_specs
from archc.draw.fonts import shortened, text_width, wrap, wrap_parts
from archc.draw.scene import Boxes, Drawing, Label, Line, Rect, flat
from tests.archc.draw.models import figure, model

Box = tuple[float, float, float, float]
SPECS = [spec.name for spec in list_specs()]
WIDE = (
    ("llama", "attention.heads=96", "attention.kv_heads=96"),
    ("llama", "attention.heads=96", "attention.kv_heads=1"),
    ("llama", "attention.heads=7", "attention.kv_heads=7"),
    ("mixtral", "mlp.experts=4096", "mlp.per_token=64"),
    ("mixtral", "mlp.experts=3", "mlp.per_token=3"),
    ("llama", "num_hidden_layers=301"),
    ("llama", "attention.window=[8, 16, 32, none]"),
    ("llama", "layer.residual=parallel", "layer.branch_scale=0.22"),
    ("llama", "layer.skip.scale=2.5", "layer.branch_scale=0.22"),
    ("llama", "layer.norm=none", "position=alibi", "final_norm=none"),
)


def extent(item: object) -> Box:
    match item:
        case Rect():
            return item.x, item.y, item.x + item.width, item.y + item.height
        case Label():
            return item.box
        case Line():
            xs, ys = zip(*item.points, strict=True)
            return min(xs), min(ys), max(xs), max(ys)
        case Boxes():
            lefts, tops, widths, heights = zip(*item.boxes, strict=True)
            rights = map(sum, zip(lefts, widths, strict=True))
            return min(lefts), min(tops), max(rights), max(map(sum, zip(tops, heights, strict=True)))
        case _:
            radius = item.radius  # type: ignore[attr-defined]
            return item.x - radius, item.y - radius, item.x + radius, item.y + radius  # type: ignore[attr-defined]


def overlap(a: Box, b: Box, by: float = 0.6) -> bool:
    return a[0] < b[2] - by and b[0] < a[2] - by and a[1] < b[3] - by and b[1] < a[3] - by


def inside(a: Box, b: Box, by: float = 0.6) -> bool:
    return a[0] >= b[0] - by and a[1] >= b[1] - by and a[2] <= b[2] + by and a[3] <= b[3] + by


def faults(sheet: Drawing) -> list[str]:
    """Return each pair of items that overlap, and each item outside of the sheet."""
    items = [item for item in flat(sheet.items) if not isinstance(item, Boxes) or item.boxes]
    page = (0.0, 0.0, sheet.width, sheet.height)
    found = [f"outside: {item}" for item in items if not inside(extent(item), page, 0)]
    labels = [item for item in items if isinstance(item, Label)]
    rects = [item for item in items if isinstance(item, Rect)]
    segments = [
        (item, extent(Line((start, end))))
        for item in items
        if isinstance(item, Line)
        for start, end in pairwise(item.points)
    ]
    graphics = [item for item in items if isinstance(item, Boxes)]
    found += [f"{a.text} / {b.text}" for a, b in combinations(labels, 2) if overlap(a.box, b.box)]
    for rect in rects:
        box = extent(rect)
        for label in labels:
            if overlap(label.box, box) and not inside(label.box, box):
                found.append(f"{label.text} / {rect}")
        found += [f"{rect} / {graphic.style}" for graphic in graphics if cuts(extent(graphic), box)]
        if "block" in rect.style.split():
            found += [
                f"{line} / {rect}" for line, span in segments if line.style in ("flow", "tie") and crosses(span, box)
            ]
    found += [f"{a} / {b}" for a, b in combinations(rects, 2) if cuts(extent(a), extent(b))]
    for line, (left, top, right, bottom) in segments:
        span = (left - 0.7, top - 0.7, right + 0.7, bottom + 0.7)
        found += [f"{line} / {label.text}" for label in labels if overlap(span, label.box)]
    return found


def cuts(a: Box, b: Box) -> bool:
    return overlap(a, b) and not inside(a, b) and not inside(b, a)


def crosses(span: Box, box: Box) -> bool:
    return overlap((span[0] - 0.7, span[1] - 0.7, span[2] + 0.7, span[3] + 0.7), box, 1.4)


@pytest.mark.parametrize("name", SPECS)
def test_nothing_overlaps(name: str) -> None:
    assert faults(figure(model(name)).scene()) == []


@pytest.mark.parametrize("case", WIDE, ids=lambda case: "-".join(case))
def test_unusual_sizes(case: tuple[str, ...]) -> None:
    size = {"llama": "llama-2-7b", "mixtral": "8x7b"}[case[0]]
    assert faults(figure(model(case[0], size, case[1:])).scene()) == []


def test_two_models() -> None:
    assert faults(figure(model("t5"), model("jamba")).scene()) == []


def test_the_check_finds_text_over_text_a_cut_box_and_a_crossed_label() -> None:
    sheet = Drawing(100, 100, [Label(5, 50, "one"), Label(8, 52, "two")])
    assert faults(sheet) == ["one / two"]
    sheet = Drawing(100, 100, [Label(90, 50, "cut off")])
    assert len(faults(sheet)) == 1
    sheet = Drawing(100, 100, [Label(5, 50, "one"), Rect(0, 45, 10, 20, "norm block")])
    assert len(faults(sheet)) == 1
    sheet = Drawing(100, 100, [Label(5, 50, "one"), Line(((0, 47), (90, 47)))])
    assert len(faults(sheet)) == 1


def test_text_is_wrapped_and_shortened_to_its_room() -> None:
    text = "one two three " + "x" * 300
    assert " ".join(wrap(text, 80, 11)).replace(" ", "") == text.replace(" ", "")
    assert all(text_width(line, 11) <= 80 for line in wrap(text, 80, 11))
    assert wrap_parts("q → 1,024 · k → 512 · v → 512", 120, 11) == ["q → 1,024 · k → 512", "v → 512"]
    assert text_width(shortened(text, 80, 11), 11) <= 80
    assert shortened("one", 80, 11) == "one"


def test_no_character_is_narrower_than_in_common_fonts() -> None:
    # Widths in hundredths of an em of Arial, which many viewers use.
    arial = {"m": 83.3, "W": 94.4, "i": 22.2, "0": 55.6, ",": 27.8, "×": 58.4, "界": 100.0}
    assert all(text_width(character, 100) >= width for character, width in arial.items())
