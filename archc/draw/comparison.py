"""Two models: the texts of their blocks that differ, and the values of their specs that do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from archc.archspec import BoundSpec
from archc.authoring.difference import Change, compare, format_value
from archc.authoring.trees import bound_trees
from archc.draw.changes import Changes, Difference
from archc.draw.describe.blocks import Block, LayerKind, Model, Stack
from archc.draw.describe.words import real
from archc.layer_ranges import shortened_ranges

_LAYERS = re.compile(r"\[([\d, -]+)\]")
_WHOLE_LAYERS = re.compile(r"(?:encoder\.)?layers\[[\d, -]+\]")


def differences(a: BoundSpec, b: BoundSpec) -> list[Difference]:
    """Return the values of the computation that differ, at the sizes of both models.

    Layers that one model lacks are one difference, in the number of layers.
    """
    counts = [_counts("layers", a, b)]
    if a.encoder is not None and b.encoder is not None:
        counts.append(_counts("encoder.layers", a.encoder, b.encoder))
    changes = compare(bound_trees(a, "a"), bound_trees(b, "b"))
    values = [_difference(change) for change in changes if change.part == "computation" and not _is_layers(change)]
    return [*(count for count in counts if count is not None), *values]


def changed_texts(model: Model, other: Model) -> Changes:
    """Return the texts of a model's blocks that their counterparts in another model lack, by the ids of the blocks."""
    changes: dict[str, set[str]] = {}
    for stack in model.stacks:
        pair = _same_stack(stack, other.stacks)
        changes |= _block_changes(stack.prefix, stack.outside, pair.outside if pair is not None else ())
        for kind in stack.kinds:
            twin = _nearest(kind, pair.kinds) if pair is not None else None
            prefix = f"{stack.prefix}{kind.prefix}"
            changes |= _block_changes(prefix, kind.blocks, twin.blocks if twin is not None else ())
            own, others = _variant_texts(kind), _variant_texts(twin) if twin is not None else set()
            if own - others:
                changes[f"{prefix}variants"] = own - others
    return changes


def _counts(path: str, a: BoundSpec, b: BoundSpec) -> Difference | None:
    one, two = len(a.layers), len(b.layers)
    return Difference(path, str(one), str(two)) if one != two else None


def _is_layers(change: Change) -> bool:
    return _WHOLE_LAYERS.fullmatch(change.path) is not None and (change.a is None or change.b is None)


def _difference(change: Change) -> Difference:
    return Difference(_LAYERS.sub(_short_layers, change.path), _text(change.a), _text(change.b))


def _short_layers(match: re.Match[str]) -> str:
    """Return the layers of a path in a few numbers: `[0, 2, … 30]`."""
    pairs = [part.partition("-") for part in match[1].split(", ")]
    layers = [layer for first, _, last in pairs for layer in range(int(first), int(last or first) + 1)]
    return f"[{shortened_ranges(layers).replace('–', '-')}]"


def _text(value: object) -> str:
    """Return a value as text, with few digits; a section of the kind none is none."""
    if isinstance(value, float):
        return real(value)
    return "none" if isinstance(value, Mapping) and value.get("kind") == "none" else format_value(value)


def _same_stack(stack: Stack, others: Sequence[Stack]) -> Stack | None:
    """Return the stack with the same name, where a decoder without an encoder counts as a decoder."""
    named = {other.name or "decoder": other for other in others}
    return named.get(stack.name or "decoder")


def _nearest(kind: LayerKind, others: Sequence[LayerKind]) -> LayerKind:
    """Return the kind with the most blocks of the same name and title."""
    own = {(block.name, block.title) for block in kind.blocks}
    return max(others, key=lambda other: len(own & {(block.name, block.title) for block in other.blocks}))


def _block_changes(prefix: str, blocks: Iterable[Block], others: Iterable[Block]) -> dict[str, set[str]]:
    twins = {block.name: block for block in others}
    changes = {}
    for block in blocks:
        twin = twins.get(block.name)
        known = {twin.title, *twin.texts()} if twin is not None else set()
        texts = {block.title, *block.texts()} - known
        if texts:
            changes[f"{prefix}{block.name}"] = texts
    return changes


def _variant_texts(kind: LayerKind) -> set[str]:
    return {text for variant in kind.variants for text in variant.texts}
