"""The index of the families: a card for each, with a search field and a filter by words of the field."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from archc.draw.describe.blocks import Cell
from archc.draw.describe.words import short
from archc.draw.formats.svg import write_svg
from archc.draw.layout.strip import draw_cell
from archc.draw.scene import Boxes, Drawing
from website.family import Family
from website.terms import TERMS

_WIDTH, _ROW = 232.0, 26.0  # of the strip on a card
_MOST = 11.0  # from one layer to the next
_HEAD = """---
title: Families
description: The shipped families, with their figures
hide: [navigation, toc]
---
# Families

{count} specs. Each card has a column for every layer: the mixer above, the MLP below, in the colors of the
[figures](../draw.md#elements).

"""


def gallery_page(families: Sequence[Family]) -> str:
    """Return the index as Markdown with HTML."""
    return _HEAD.format(count=len(families)) + "\n".join([*_filter(families), *_cards(families)]) + "\n"


def _filter(families: Sequence[Family]) -> Iterator[str]:
    counts = Counter(term for family in families for term in family.terms)
    yield '<form class="gallery-filter" data-search-exclude hidden>'
    yield '<input type="search" name="text" placeholder="Name or description" aria-label="Name or description">'
    for group, terms in TERMS.items():
        yield f"<fieldset><legend>{group}</legend>"
        for term in terms:
            if counts[term]:
                box = f'<input type="checkbox" name="word" value="{html.escape(term)}">'
                yield f"<label>{box}{html.escape(term)} <small>{counts[term]}</small></label>"
        yield "</fieldset>"
    yield '<p><output></output> <button type="reset">Show all</button></p>'
    yield "</form>"


def _cards(families: Iterable[Family]) -> Iterator[str]:
    yield '<div class="gallery" data-search-exclude>'
    for family in families:
        terms = html.escape("|".join(family.terms))
        parameters = f"{short(family.subject.totals.parameters)} parameters"
        size = " · ".join(part for part in (html.escape(family.model.size), parameters) if part)
        yield f'<a class="gallery-card" href="{family.name}/" data-words="{terms}">'
        yield f"<strong>{family.name}</strong><small>{size}</small>"
        yield _strips(family)
        yield f"<span>{html.escape(family.header.description)}</span></a>"
    yield "</div>"


def _strips(family: Family) -> str:
    """Return the layers of all stacks as one drawing, a row for each stack."""
    drawing = Drawing(_WIDTH, _ROW * len(family.model.stacks))
    for row, stack in enumerate(family.model.stacks):
        drawing.items += _strip(stack.cells, row * _ROW)
    svg = write_svg(drawing, f"Layers of {family.model.title}", style=False).replace("\n", "")
    return f'<div class="architecture">{svg}</div>'


def _strip(cells: Sequence[Cell], y: float) -> Iterator[Boxes]:
    step = min(_MOST, _WIDTH / len(cells))
    for index, cell in enumerate(cells):
        yield from draw_cell(cell, index * step, y, step * 0.85)
