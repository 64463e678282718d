"""Alternatives `{a,b,c}` in the names of a weight table, and their expansion to one entry per tensor."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode

MAX_ALTERNATIVES = 1000

_ALTERNATIVES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def alternatives_of(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the `{a,b,c}` groups of a name, in order."""
    return tuple(tuple(part.strip() for part in group.split(",")) for group in _ALTERNATIVES.findall(name))


def expand_name(name: str) -> tuple[str, ...]:
    """Return every combination of a name's alternatives; the last group varies fastest.

    Returns the name itself if it has no alternatives, or more than MAX_ALTERNATIVES combinations.
    """
    groups = alternatives_of(name)
    count = 1
    for group in groups:
        count *= len(group)
    if not groups or count > MAX_ALTERNATIVES:
        return (name,)
    pieces = _ALTERNATIVES.split(name)[::2]
    return tuple(
        "".join(itertools.chain.from_iterable(zip(pieces, (*choice, ""), strict=True)))
        for choice in itertools.product(*groups)
    )


def expand_entry(key: str, value: Node) -> Mapping[str, Node]:
    """Return an entry of the table as one entry per combination of its key.

    Combination k of the key has combination k of the checkpoint name or, for a `split`, part k of the tensor.
    """
    names = expand_name(key)
    if len(names) == 1:
        return {names[0]: value}
    return {name: _entry_at(value, k) for k, name in enumerate(names)}


def _entry_at(value: Node, k: int) -> Node:
    if isinstance(value, ScalarNode) and isinstance(value.value, str):
        names = expand_name(value.value)
        return ScalarNode(names[k] if len(names) > k else value.value, value.mark, value.quoted)
    if isinstance(value, ListNode):
        return ListNode(tuple(_entry_at(item, k) for item in value.items), value.mark)
    if isinstance(value, MappingNode):
        entries = dict(value.entries)
        if "from" in entries:
            entries["from"] = _entry_at(entries["from"], k)
        split = entries.get("split")
        if isinstance(split, MappingNode) and "take" not in split.entries:
            take = ScalarNode(k, split.mark)
            entries["split"] = MappingNode(
                {**split.entries, "take": take}, {**split.key_marks, "take": split.mark}, split.mark
            )
        return MappingNode(entries, value.key_marks, value.mark)
    return value
