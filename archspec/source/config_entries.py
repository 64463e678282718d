"""Short forms of config names: `name: value`, a default in `config:`, and the supported value in `fixed_config:`."""

from __future__ import annotations

from archc.archspec.errors import Problem
from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode, is_null, join_path

FIXED = "fixed_config"


def in_full(config: MappingNode, fixed: MappingNode, problems: list[Problem]) -> MappingNode:
    """Return both sections as one, with every short form written as a mapping; append problems to `problems`.

    An entry without a value stays as it is.
    """
    entries = {name: _in_full(node) for name, node in config.entries.items()}
    for name, node in fixed.entries.items():
        path, mark = join_path(FIXED, name), fixed.key_marks[name]
        if name in entries:
            problems.append(mark.problem(path, f"'{name}' is also declared in `config:`", "remove one of them"))
        elif not isinstance(node, ScalarNode) or is_null(node):
            hint = "write the only supported value of the key, or declare the name in `config:`"
            problems.append(node.mark.problem(path, "expected a value", hint))
        else:
            entries[name] = _fixed(node)
    return MappingNode(entries, {**fixed.key_marks, **config.key_marks}, config.mark)


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


def _fixed(node: ScalarNode) -> MappingNode:
    """Return the entry of a name with one supported value, a literal."""
    is_text = isinstance(node.value, str) and (node.quoted or node.value != "none")
    default = ScalarNode(repr(node.value), node.mark, quoted=True) if is_text else node
    entries: dict[str, Node] = {"default": default, "allowed": ListNode((node,), node.mark)}
    return MappingNode(entries, dict.fromkeys(entries, node.mark), node.mark)


def _shortened(node: Node) -> Node:
    default = node.get("default") if isinstance(node, MappingNode) and len(node.entries) == 1 else None
    return node if default is None or isinstance(default, MappingNode) or is_null(default) else default
