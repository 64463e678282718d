"""Colors of a figure by meaning, light and dark, as a style sheet of an SVG."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Literal

FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'

_CLASS = re.compile(r"\.([A-Za-z][\w-]*)")

# Of each kind: fill of a block, outline, and solid color of cells and bars; light, then dark.
_KINDS = {
    "attention": (("#e6f1fd", "#2f6fb5", "#4a8fd8"), ("#12273f", "#5b9fe0", "#4a8fd8")),
    "cross": (("#e0f5f3", "#14807a", "#2ba39b"), ("#0d2d2c", "#3fb5ad", "#2ba39b")),
    "recurrent": (("#e5f5e8", "#2c7f43", "#4aa564"), ("#112c1a", "#58b573", "#4aa564")),
    "mixing": (("#eaedf6", "#55648f", "#7c8bb8"), ("#1d2335", "#8f9dcb", "#7c8bb8")),
    "mlp": (("#fdf0dc", "#a8650c", "#e0a040"), ("#33240f", "#d99a3d", "#d1932f")),
    "experts": (("#f1eafc", "#7446b8", "#9a72d6"), ("#271c3d", "#a888e3", "#9270cf")),
    "norm": (("#f0f2f4", "#7b858f", "#a4adb6"), ("#23282e", "#89939d", "#7d8791")),
    "table": (("#fbe9f0", "#ad3f6f", "#d1719a"), ("#351a27", "#d87da4", "#c2658d")),
    "head": (("#fbe9f0", "#ad3f6f", "#b5446f"), ("#351a27", "#d87da4", "#e394b6")),
    "other": (("#f0f2f4", "#7b858f", "#5f6871"), ("#23282e", "#89939d", "#b5bdc5")),
}
# Page, card, frame, ink, muted ink, flow, outline of frames, differences, text on keys.
_BASE = (
    ("#ffffff", "#ffffff", "#f6f8fa", "#1b2026", "#59636e", "#4b545d", "#ccd3da", "#c9311f", "#ffffff"),
    ("#0f1419", "#141a21", "#1a2129", "#e8edf2", "#9aa5b1", "#a7b1bb", "#3a444f", "#ff8a75", "#0f1419"),
)


# Outlines, the same in both schemes.
_SHAPES = (
    ".bold { font-weight: 600; }",
    ".flow, .curve, .tie, .brace, .formula, .inner { fill: none; }",
    ".flow, .sign { stroke-width: 1.4; }",
    ".curve { stroke-width: 1.6; stroke-linejoin: round; }",
    ".tie { stroke-width: 1.2; stroke-dasharray: 3 3; }",
    ".block { stroke-width: 1.2; }",
    ".brace, .step, .formula, .inner { stroke-width: 0.8; }",
    ".query, .off { stroke-width: 0.7; }",
    ".tag { stroke-width: 0.6; stroke-opacity: 0.6; }",
    ".shade1 { fill-opacity: 0.5; }",
    ".shade2 { fill-opacity: 0.25; }",
    "rect.changed { stroke-width: 2; }",
)
_OUTLINED = ("block", "step", "formula", "inner", "tag", "query", "off")


def style_sheet(used: Collection[str] | None = None) -> str:
    """Return the rules for light, and those for dark behind `prefers-color-scheme`; of `used` classes alone."""
    shapes, light, dark = (_text(rules, used) for rules in (_SHAPES, _colors(0), _colors(1)))
    return f"text {{ font-family: {FONTS}; }}\n{shapes}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def scheme_rules(scheme: Literal["light", "dark"]) -> list[str]:
    """Return the rules of one scheme, for a page that switches between them by itself."""
    return [*_SHAPES, *_colors(("light", "dark").index(scheme))]


def _text(rules: Iterable[str], used: Collection[str] | None) -> str:
    """Return rules as lines, without the selectors of classes that are not in `used`."""
    text = ""
    for rule in rules:
        selectors, _, values = rule.partition(" {")
        kept = [one for one in selectors.split(", ") if used is None or set(_CLASS.findall(one)) <= set(used)]
        text += f"{', '.join(kept)} {{{values}\n" if kept else ""
    return text


def _colors(scheme: int) -> list[str]:
    page, card, frame, ink, muted, flow, outline, changed, on_key = _BASE[scheme]
    line = _KINDS["attention"][scheme][1]
    rules = [
        f".page {{ fill: {page}; }}",
        f".frame {{ fill: {frame}; }}",
        f".card, .sign, .step, .query, .off {{ fill: {card}; }}",
        f".frame, .card {{ stroke: {outline}; }}",
        f".ink {{ fill: {ink}; }}",
        f".muted {{ fill: {muted}; }}",
        f".onkey {{ fill: {on_key}; }}",
        f".flow, .tie, .sign {{ stroke: {flow}; }}",
        f".head-arrow, .dot {{ fill: {flow}; }}",
        f".curve {{ stroke: {line}; }}",
        f".brace {{ stroke: {muted}; }}",
    ]
    for kind, schemes in _KINDS.items():
        fill, line, solid = schemes[scheme]
        rules += [
            f"{', '.join(f'.{kind}.{shape}' for shape in _OUTLINED)} {{ stroke: {line}; }}",
            f".{kind}.block, .{kind}.tag {{ fill: {fill}; }}",
            f".{kind}.arrow, .{kind}.key, .{kind}.on {{ fill: {line}; }}",
            f".{kind}.cell, .{kind}.bar {{ fill: {solid}; }}",
        ]
    return [*rules, f"text.changed {{ fill: {changed}; }}", f"rect.changed {{ stroke: {changed}; }}"]
