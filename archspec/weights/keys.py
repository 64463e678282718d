"""Names in the weight table: `{a,b,c}` alternatives, and how one entry expands into one entry per tensor."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from archc.archspec.source.yaml_tree import Items, Node, Scalar, Table

MAX_ALTERNATIVES = 1000

_ALTERNATIVES = re.compile(r"\{([^{}]*,[^{}]*)\}")


def groups_of(name: str) -> tuple[tuple[str, ...], ...]:
    """The `{a,b,c}` groups of a name, in order."""
    return tuple(tuple(part.strip() for part in group.split(",")) for group in _ALTERNATIVES.findall(name))


def expanded_keys(name: str) -> tuple[str, ...]:
    """Every name that a name with alternatives stands for, the last group varying fastest."""
    groups = groups_of(name)
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


def expand_entries(key: str, value: Node) -> Mapping[str, Node]:
    """One entry of the table as one entry for each alternative of its key.

    Alternatives pair with those of the checkpoint name; of a tensor that is split, alternative k takes part k.
    """
    names = expanded_keys(key)
    if len(names) == 1:
        return {names[0]: value}
    return {name: _choose(value, k) for k, name in enumerate(names)}


def _choose(value: Node, k: int) -> Node:
    """The table entry of alternative k."""
    if isinstance(value, Scalar) and isinstance(value.value, str):
        names = expanded_keys(value.value)
        return Scalar(names[k] if len(names) > k else value.value, value.mark, value.quoted)
    if isinstance(value, Items):
        return Items(tuple(_choose(item, k) for item in value.items), value.mark)
    if isinstance(value, Table):
        entries = dict(value.entries)
        if "from" in entries:
            entries["from"] = _choose(entries["from"], k)
        split = entries.get("split")
        if isinstance(split, Table) and "take" not in split.entries:
            take = Scalar(k, split.mark)
            entries["split"] = Table({**split.entries, "take": take}, {**split.keys, "take": split.mark}, split.mark)
        return Table(entries, value.keys, value.mark)
    return value
