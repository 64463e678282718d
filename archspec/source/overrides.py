"""Overrides from the command line: `--set path=value`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archc.archspec.errors import (
    Problem,
    SpecError,
    clip,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.source.merging import merge_sections
from archc.archspec.source.nodes import (
    ListNode,
    MappingNode,
    Mark,
    Node,
    ScalarNode,
    empty_mapping,
    from_python,
    to_python,
)
from archc.archspec.source.top_keys import SECTIONS
from archc.archspec.source.yaml_reader import parse_tree, read_text

_NO_SECTIONS = empty_mapping(Mark("--set"))


@dataclass(frozen=True)
class Overrides:
    """Overridden sections as a tree, and overridden values of config names."""

    sections: MappingNode = _NO_SECTIONS
    config: Mapping[str, Any] = field(default_factory=dict)


def read_overrides(texts: Sequence[str], names: Collection[str], problems: list[Problem]) -> Overrides:
    """Return the overrides of `path=value` texts; later ones take precedence. Appends problems to `problems`."""
    sections = _NO_SECTIONS
    config: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        path = path.strip()
        mark = Mark(f"--set {clip(path)}")
        if not equals or not path or not all(path.split(".")):
            problems.append(Mark("--set").problem("", f"expected path=value, got {format_value(text)}"))
            continue
        try:
            node = _node(value, mark)
        except SpecError as error:
            problems += [mark.problem("", problem.message, problem.hint) for problem in error.problems]
            continue
        first, *rest = path.split(".")
        if first in SECTIONS:
            tree = node
            for key in reversed(rest):
                tree = MappingNode({key: tree}, {key: mark}, mark)
            sections = merge_sections(sections, MappingNode({first: tree}, {first: mark}, mark))
        elif path in names:
            config[path] = to_python(node)
        else:
            allowed = f"sections: {format_list(SECTIONS)}; or a config name of the spec"
            hint = join_hints(did_you_mean(first, [*SECTIONS, *names]), allowed)
            problems.append(mark.problem("", f"no section or config name '{clip(path)}'", hint))
    return Overrides(sections, config)


def _node(value: str, mark: Mark) -> Node:
    """Return the tree of a value in YAML; `@file` is the content of the file as text. Raises SpecError."""
    text = value.strip()
    if not text:
        return from_python(None, mark)
    if text.startswith("@"):
        return ScalarNode(read_text(Path(text[1:])), mark, quoted=True)
    return _at(parse_tree(value, mark.file), mark)


def _at(node: Node, mark: Mark) -> Node:
    """Return the tree with `mark` as the position of every node."""
    if isinstance(node, MappingNode):
        entries = {key: _at(value, mark) for key, value in node.entries.items()}
        return MappingNode(entries, dict.fromkeys(entries, mark), mark)
    if isinstance(node, ListNode):
        return ListNode(tuple(_at(item, mark) for item in node.items), mark)
    return ScalarNode(node.value, mark, node.quoted)
