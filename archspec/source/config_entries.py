"""Short form of an entry of `config:`: `name: value` for `name: {default: value}`."""

from __future__ import annotations

from archc.archspec.source.nodes import MappingNode, Node, is_null


def in_full(config: MappingNode) -> MappingNode:
    """Return the section with every short form written as a mapping; an entry without a value stays as it is."""
    entries = {name: _in_full(node) for name, node in config.entries.items()}
    return MappingNode(entries, config.key_marks, config.mark)


def shortened(config: MappingNode) -> MappingNode:
    """Return the section with every entry that has only a default in the short form."""
    entries = {name: _shortened(node) for name, node in config.entries.items()}
    return MappingNode(entries, config.key_marks, config.mark)


def is_short(entry: MappingNode) -> bool:
    """Return whether the file has the short form of an entry: the value is at the place of the mapping."""
    default = entry.get("default")
    return default is not None and default.mark == entry.mark


def _in_full(node: Node) -> Node:
    if isinstance(node, MappingNode) or is_null(node):
        return node
    return MappingNode({"default": node}, {"default": node.mark}, node.mark)


def _shortened(node: Node) -> Node:
    default = node.get("default") if isinstance(node, MappingNode) and len(node.entries) == 1 else None
    return node if default is None or isinstance(default, MappingNode) or is_null(default) else default
