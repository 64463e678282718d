"""YAML reader: text to a tree of nodes, within limits that make any input safe.

PyYAML scans the text to events: by libyaml, which is 20 times as fast, and by its own scanner where libyaml is not
installed or finds a fault, so that messages are the same everywhere. Plain scalars are resolved here by the core schema
of YAML 1.2, because YAML 1.1 reads `1e-6` as a string and `no` as a boolean. Tags, nested aliases, deep nesting and
large files are rejected before they use memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
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

_FAST_LOADER = getattr(yaml, "CSafeLoader", None)
# Characters that libyaml and the scanner of PyYAML read differently: tabs, `?` in flow style, breaks of YAML 1.1.
_READ_APART = re.compile("[\t\r?\x85\u2028\u2029\ufeff]")

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
    if _FAST_LOADER is not None and _READ_APART.search(text) is None:
        try:
            return _build(text, file, _FAST_LOADER)
        except yaml.YAMLError:
            pass  # the same fault, in the words of the other scanner
    try:
        return _build(text, file, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise SpecError([Problem(file, line, column, "", "the character is not allowed in YAML")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError([Problem(file, 0, 0, "", f"invalid YAML: {clip(str(error))}")]) from None


def _build(text: str, file: str, loader: type[Any]) -> Node:
    """Return the tree of the events of one loader. Raises YAMLError for a fault of syntax, SpecError for any other."""
    builder = _Builder(file, yaml.parse(text, loader))
    tree = builder.document()
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


@dataclass(frozen=True)
class _Anchored:
    """A node with an anchor, and the numbers of values and levels that each alias of it adds."""

    node: Node
    values: int
    levels: int


class _Builder:
    """Converter of events to nodes; counts values and levels, those of expanded aliases included."""

    def __init__(self, file: str, events: Iterator[Any]) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._events = events
        self._anchored: dict[str, _Anchored | None] = {}  # None for a node that is being built
        self._values = 0
        self._deepest = 0

    def document(self) -> Node:
        """Return the only document. Raises SpecError if there is none, or one more."""
        first, event = next(self._events), next(self._events)
        assert isinstance(first, yaml.StreamStartEvent)
        if isinstance(event, yaml.StreamEndEvent):
            raise SpecError([Problem(self.file, 1, 1, "", "the file is empty; expected a mapping")])
        start = event.start_mark
        tree = self._node(next(self._events), "", 1)
        next(self._events)  # the end of the document
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            message = "expected a single document in the stream but found another document"
            line = f" that began on line {start.line + 1}" if start.line != event.start_mark.line else ""
            raise SpecError([self._mark(event).problem("", f"{message}{line}")])
        return tree

    def _mark(self, event: Any) -> Mark:
        mark = event.start_mark
        return Mark(self.file, mark.line + 1, mark.column + 1)

    def _node(self, event: Any, path: str, depth: int) -> Node:
        mark = self._mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, path, depth)
        self._count(mark, depth)
        if event.tag is not None:
            message = f"the tag {clip(event.tag)} is not supported; remove it"
            raise yaml.MarkedYAMLError(None, None, message, event.start_mark)
        if event.anchor is None:
            return self._content(event, mark, path, depth)
        if event.anchor in self._anchored:
            raise SpecError([mark.problem(path, f"the anchor &{clip(event.anchor)} is defined twice; rename one")])
        self._anchored[event.anchor] = None
        values, deepest, self._deepest = self._values, self._deepest, depth
        node = self._content(event, mark, path, depth)
        self._anchored[event.anchor] = _Anchored(node, self._values - values + 1, self._deepest - depth + 1)
        self._deepest = max(self._deepest, deepest)
        return node

    def _count(self, mark: Mark, depth: int) -> None:
        self._values += 1
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            raise SpecError([mark.problem("", f"more than {MAX_DEPTH} levels of nesting")])
        if self._values > MAX_NODES:
            raise SpecError([mark.problem("", f"more than {MAX_NODES} values in one file")])

    def _alias(self, name: str, mark: Mark, path: str, depth: int) -> Node:
        if name not in self._anchored:
            raise SpecError([mark.problem(path, f"undefined alias '{clip(name)}'")])
        anchored = self._anchored[name]
        if anchored is not None:
            self._values += anchored.values
            self._deepest = max(self._deepest, depth + anchored.levels - 1)
        if anchored is None or self._values > MAX_NODES or depth + anchored.levels - 1 > MAX_DEPTH:
            message = f"aliases (*name) expand to more than {MAX_NODES} values or {MAX_DEPTH} levels"
            raise SpecError([mark.problem(path, message, "write the values out")])
        return anchored.node

    def _content(self, event: Any, mark: Mark, path: str, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, mark)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, f"{path}[{len(items)}]", depth + 1))
            return ListNode(tuple(items), mark)
        return self._mapping(mark, path, depth)

    def _mapping(self, mark: Mark, path: str, depth: int) -> MappingNode:
        entries: dict[str, Node] = {}
        key_marks: dict[str, Mark] = {}
        while not isinstance(key_event := next(self._events), yaml.MappingEndEvent):
            key_mark = self._node(key_event, path, depth + 1).mark
            key = key_event.value if isinstance(key_event, yaml.ScalarEvent) else None
            value_path = join_path(path, key) if key is not None else path
            value = self._node(next(self._events), value_path, depth + 1)
            if key is None:
                self.problems.append(key_mark.problem(path, "expected text as a key, got a list or a mapping"))
            elif key == "<<":
                hint = "use `extends:` or write the keys out"
                self.problems.append(key_mark.problem(path, "the merge key '<<' is not supported", hint))
            elif key in entries:
                hint = f"remove one; the first is on line {key_marks[key].line}"
                self.problems.append(key_mark.problem(value_path, f"duplicate key {format_value(key)}", hint))
            else:
                key_marks[key] = key_mark
                entries[key] = value
        return MappingNode(entries, key_marks, mark)

    def _scalar(self, event: Any, path: str, mark: Mark) -> ScalarNode:
        if event.style:
            return ScalarNode(event.value, mark, quoted=True)
        try:
            return ScalarNode(resolve_plain(event.value), mark)
        except ValueError as error:
            self.problems.append(mark.problem(path, f"{clip(event.value)} {error}"))
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
