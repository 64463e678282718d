"""YAML reader: text to a tree of nodes, within limits that make any input safe.

PyYAML's safe loader scans and composes. Plain scalars are resolved here by the core schema of YAML 1.2, because YAML
1.1 reads `1e-6` as a string and `no` as a boolean. Tags, nested aliases, deep nesting and large files are rejected
before they use memory.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from archc.archspec.errors import Problem, SpecError, clip, format_value
from archc.archspec.source.nodes import ListNode, MappingNode, Mark, Node, ScalarNode, join_path

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_INTEGER = 2**63

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_tree(path: Path) -> Node:
    """Return the tree of a YAML file. Raises SpecError with every YAML problem of the file."""
    return _tree(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the content of a file in UTF-8. Raises SpecError if it is unreadable or larger than MAX_BYTES."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([Problem(file, 0, 0, "", f"cannot read the file: {reason}")]) from None
    if len(data) > MAX_BYTES:
        raise SpecError([Problem(file, 0, 0, "", f"the file is larger than {MAX_BYTES} bytes, the limit for a spec")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise SpecError([Problem(file, line, column, "", "invalid UTF-8; save the file as UTF-8")]) from None


def parse_tree(text: str, file: str) -> Node:
    """Return the tree of YAML text. Raises SpecError with every YAML problem of the text."""
    if len(text) > MAX_BYTES:
        message = f"the text is longer than {MAX_BYTES} characters, the limit for a spec"
        raise SpecError([Problem(file, 0, 0, "", message)])
    try:
        composer = _Composer(text)
        node = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise SpecError([Problem(file, line, column, "", "the character is not allowed in YAML")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError([Problem(file, 0, 0, "", f"invalid YAML: {clip(str(error))}")]) from None
    if node is None:
        raise SpecError([Problem(file, 1, 1, "", "the file is empty; expected a mapping")])
    builder = _Builder(file)
    tree = builder.build(node, "", 0)
    if builder.problems:
        raise SpecError(builder.problems)
    return tree


# Many specs extend the same few, and parsing is most of the time of a load; trees are never changed.
_tree = lru_cache(maxsize=512)(parse_tree)


def resolve_plain(text: str) -> bool | int | float | str | None:
    """Return the value of an unquoted scalar (YAML 1.2 core schema). Raises ValueError for a number out of range."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            raise ValueError("is too large")
        base = {"0o": 8, "0x": 16}.get(text[:2].lower(), 10)
        number = int(text[2:] if base != 10 else text, base)
        if abs(number) > MAX_INTEGER:
            raise ValueError("is too large")
        return number
    if _FLOAT.fullmatch(text):
        if "n" in text.lower():
            raise ValueError("is not a finite number")
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("is too large")
        return value
    return text


class _Composer(yaml.SafeLoader):
    """PyYAML's composer without implicit types; fails early at a tag, a deep nesting or too many nodes."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own convention)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"more than {MAX_DEPTH} levels of nesting", event.start_mark)
        if self._nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(None, None, f"more than {MAX_NODES} values in one file", event.start_mark)
        if getattr(event, "tag", None) is not None:
            message = f"the tag {clip(event.tag)} is not supported; remove it"
            raise yaml.MarkedYAMLError(None, None, message, event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Builder:
    """Converter of PyYAML's nodes. Aliases are expanded, so the number of nodes is limited here once more."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.node_count = 0

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def build(self, node: yaml.Node, path: str, depth: int) -> Node:
        mark = self.mark(node)
        self.node_count += 1
        if self.node_count > MAX_NODES or depth > MAX_DEPTH:
            message = f"aliases (*name) expand to more than {MAX_NODES} values or {MAX_DEPTH} levels"
            raise SpecError([mark.problem(path, message, "write the values out")])
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, mark)
        if isinstance(node, yaml.SequenceNode):
            items = (self.build(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value))
            return ListNode(tuple(items), mark)
        entries: dict[str, Node] = {}
        key_marks: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            key_mark = self.mark(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(key_mark.problem(path, "expected text as a key, got a list or a mapping"))
                continue
            if key == "<<":
                hint = "use `extends:` or write the keys out"
                self.problems.append(key_mark.problem(path, "the merge key '<<' is not supported", hint))
                continue
            if key in entries:
                hint = f"remove one; the first is on line {key_marks[key].line}"
                self.problems.append(key_mark.problem(join_path(path, key), f"duplicate key {format_value(key)}", hint))
                continue
            key_marks[key] = key_mark
            entries[key] = self.build(value_node, join_path(path, key), depth + 1)
        return MappingNode(entries, key_marks, mark)

    def scalar(self, node: yaml.ScalarNode, path: str, mark: Mark) -> ScalarNode:
        if node.style is not None:
            return ScalarNode(node.value, mark, quoted=True)
        try:
            return ScalarNode(resolve_plain(node.value), mark)
        except ValueError as error:
            self.problems.append(mark.problem(path, f"{clip(node.value)} {error}"))
            return ScalarNode(None, mark)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    text = clip(" ".join(part for part in (error.problem, error.context) if part), 200)
    if "'\\t'" in text:
        return Problem(file, line, column, "", "a tab in the indentation", "indent with spaces")
    if error.context_mark is not None and error.context_mark.line + 1 != line:
        text += f" that began on line {error.context_mark.line + 1}"
    return Problem(file, line, column, "", text)
