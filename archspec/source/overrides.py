"""`--set path=value`: ablations without a new file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archc.archspec.errors import Problem, SpecError, clipped, did_you_mean, hints, listed, shown
from archc.archspec.source.header import SECTIONS
from archc.archspec.source.merging import merge_sections
from archc.archspec.source.yaml_tree import Items, Mark, Node, Scalar, Table, from_python, parse_tree, to_python

_NOWHERE = Table({}, {}, Mark("--set"))


@dataclass(frozen=True)
class Overrides:
    """What `--set` says: a tree over the spec's sections, and values of config names."""

    sections: Table = _NOWHERE
    config: Mapping[str, Any] = field(default_factory=dict)


def read_overrides(texts: Sequence[str], names: Collection[str], problems: list[Problem]) -> Overrides:
    """The overrides, the later of two winning; faults go to `problems`."""
    sections = _NOWHERE
    config: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        path = path.strip()
        mark = Mark(f"--set {clipped(path)}")
        if not equals or not path or not all(path.split(".")):
            problems.append(Mark("--set").problem("", f"{shown(text)} is not path=value"))
            continue
        try:
            node = _at(parse_tree(value, mark.file), mark) if value.strip() else from_python(None, mark)
        except SpecError as error:
            problems += [mark.problem("", problem.message, problem.hint) for problem in error.problems]
            continue
        first, *rest = path.split(".")
        if first in SECTIONS:
            tree = node
            for key in reversed(rest):
                tree = Table({key: tree}, {key: mark}, mark)
            sections = merge_sections(sections, Table({first: tree}, {first: mark}, mark))
        elif path in names:
            config[path] = to_python(node)
        else:
            near = did_you_mean(first, [*SECTIONS, *names])
            hint = hints(near, f"sections: {listed(SECTIONS)}; or a config name of the spec")
            problems.append(mark.problem("", f"there is no '{clipped(path)}' to set", hint))
    return Overrides(sections, config)


def _at(node: Node, mark: Mark) -> Node:
    """The tree with all of it at one place."""
    if isinstance(node, Table):
        entries = {key: _at(value, mark) for key, value in node.entries.items()}
        return Table(entries, dict.fromkeys(entries, mark), mark)
    if isinstance(node, Items):
        return Items(tuple(_at(item, mark) for item in node.items), mark)
    return Scalar(node.value, mark, node.quoted)
