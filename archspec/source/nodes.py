"""The tree of a YAML file: scalars, lists and mappings, each with its position in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from archc.archspec.errors import Problem


class Mark(NamedTuple):
    """A position in a file. Lines and columns start at 1; line 0 stands for a value that is in no file."""

    file: str
    line: int = 0
    column: int = 0

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """Return a problem at this position."""
        return Problem(self.file, self.line, self.column, path, message, hint)


@dataclass(frozen=True)
class ScalarNode:
    """A null, boolean, number or string."""

    value: bool | int | float | str | None
    mark: Mark
    quoted: bool = False


@dataclass(frozen=True)
class ListNode:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True)
class MappingNode:
    """A mapping with string keys in their order in the file; `key_marks` holds the position of each key."""

    entries: Mapping[str, Node]
    key_marks: Mapping[str, Mark]
    mark: Mark

    def get(self, key: str) -> Node | None:
        """Return the node of `key`, or None."""
        return self.entries.get(key)


Node = ScalarNode | ListNode | MappingNode


def empty_mapping(mark: Mark) -> MappingNode:
    """Return a mapping without keys."""
    return MappingNode({}, {}, mark)


def is_null(node: Node) -> bool:
    """Return whether the node is a null scalar."""
    return isinstance(node, ScalarNode) and node.value is None


def join_path(path: str, key: str) -> str:
    """Return the path of a key in the section at `path`."""
    return f"{path}.{key}" if path else key


def to_python(node: Node) -> Any:
    """Return plain dicts, lists and scalars. An unquoted `none` becomes None."""
    if isinstance(node, MappingNode):
        return {key: to_python(value) for key, value in node.entries.items()}
    if isinstance(node, ListNode):
        return [to_python(item) for item in node.items]
    return None if node.value == "none" and not node.quoted else node.value


def from_python(value: object, mark: Mark) -> Node:
    """Return the tree of a plain value with `mark` as the position of every node. Raises TypeError for other types."""
    if isinstance(value, Mapping):
        entries = {str(key): from_python(item, mark) for key, item in value.items()}
        return MappingNode(entries, dict.fromkeys(entries, mark), mark)
    if isinstance(value, list | tuple):
        return ListNode(tuple(from_python(item, mark) for item in value), mark)
    if value is None or isinstance(value, bool | int | float | str):
        return ScalarNode(value, mark, quoted=isinstance(value, str))
    raise TypeError(f"{type(value).__name__} has no YAML representation")
