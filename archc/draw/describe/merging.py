"""Blocks of several layers as one: numbers that differ become alternatives, tags that differ are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from archc.draw.describe.blocks import Block, Formula, Pair, Row, Step, row_texts

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_MOST_LISTED = 2


def without_numbers(text: str) -> str:
    """Return text with a sign in place of each number."""
    return _NUMBER.sub("#", text)


def skeleton(block: Block | None) -> object:
    """Return a block without its numbers, its graphics and its tags."""
    if block is None:
        return None
    texts = [text for row in block.rows for text in _texts(row)]
    return block.name, block.kind, block.title, tuple(map(without_numbers, (block.note, *texts)))


def merge_blocks(main: Block, blocks: Sequence[Block], merges_tags: bool) -> Block:
    """Return the block of layers with the same skeleton, with the graphics of `main`.

    Of tags that differ, those that differ in numbers alone are merged if `merges_tags` is set, and others left out.
    """
    common = tuple(merged for tag in main.tags if (merged := _merge_tag(tag, blocks, merges_tags)))
    rows = tuple(_merge_rows(row, [block.rows[i] for block in blocks]) for i, row in enumerate(main.rows))
    return replace(main, note=merge_texts([block.note for block in blocks]), rows=rows, tags=common)


def merge_texts(texts: Sequence[str]) -> str:
    """Return texts that differ in numbers alone as one: `k, v → 512 or 1,024`, `q → 768–3,072`."""
    if len(set(texts)) == 1:
        return texts[0]
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    merged = iter([_alternatives(list(dict.fromkeys(column))) for column in columns])
    return _NUMBER.sub(lambda match: next(merged), texts[0])


def differing_texts(kinds: Sequence[Sequence[Block]]) -> list[tuple[str, ...]]:
    """Return, for each of several kinds with the same blocks, the texts in which it differs from the others.

    Of a block these are its note and tags, or the first of its rows that differs if note and tags are equal.
    """
    texts: list[list[str]] = [[] for _ in kinds]
    for blocks in zip(*kinds, strict=True):
        options = [[block.note, *block.tags] for block in blocks]
        common = set(options[0]).intersection(*options)
        own = [[text for text in each if text not in common] for each in options]
        if not any(own):
            rows = [_row_texts(block) for block in blocks]
            differing = [place for place, each in enumerate(zip(*rows, strict=True)) if len(set(each)) > 1]
            own = [[row[place] for place in differing[:1]] for row in rows]
        texts = [[*before, *more] for before, more in zip(texts, own, strict=True)]
    return [tuple(each) for each in texts]


def _row_texts(block: Block) -> list[str]:
    return [text for row in block.rows for text in row_texts(row)]


def _merge_tag(tag: str, blocks: Sequence[Block], merges: bool) -> str:
    """Return a tag that all blocks have, or its merged form; empty if a block has neither."""
    if all(tag in block.tags for block in blocks):
        return tag
    shape = without_numbers(tag)
    tags = [next((other for other in block.tags if without_numbers(other) == shape), "") for block in blocks]
    return merge_texts(tags) if merges and all(tags) else ""


def _alternatives(numbers: list[str]) -> str:
    ordered = sorted(numbers, key=lambda number: float(number.replace(",", "")))
    return " or ".join(ordered) if len(ordered) <= _MOST_LISTED else f"{ordered[0]}–{ordered[-1]}"


def _texts(row: Row) -> tuple[str, ...]:
    match row:
        case Step():
            return ("step", row.text)
        case Formula():
            return ("formula", row.text)
        case Pair():
            return ("pair", row.left, row.right)
        case _:
            return (type(row).__name__,)


def _merge_rows(main: Row, rows: Sequence[Row]) -> Row:
    match main:
        case Step():
            return replace(main, text=merge_texts([row.text for row in rows if isinstance(row, Step)]))
        case Formula():
            return replace(main, text=merge_texts([row.text for row in rows if isinstance(row, Formula)]))
        case Pair():
            pairs = [row for row in rows if isinstance(row, Pair)]
            return Pair(merge_texts([pair.left for pair in pairs]), merge_texts([pair.right for pair in pairs]))
        case _:
            return main
