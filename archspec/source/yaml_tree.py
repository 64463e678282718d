"""YAML text as a tree that knows where each of its nodes stands in the file.

PyYAML's safe loader scans and composes; what a plain scalar means is decided here by YAML 1.2's core schema, because
YAML 1.1 reads `1e-6` as text and `no` as a boolean. Tags, long chains of aliases, deep nesting and large files are
refused before they cost anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archc.archspec.errors import Problem, SpecError, clipped, shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
LARGEST_INTEGER = 2**63

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Mark:
    """A place in a file, lines and columns from 1; line 0 for what stands in no file."""

    file: str
    line: int = 0
    column: int = 0

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """A problem at this place."""
        return Problem(self.file, self.line, self.column, path, message, hint)


@dataclass(frozen=True)
class Scalar:
    """A null, boolean, number or text."""

    value: bool | int | float | str | None
    mark: Mark
    quoted: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True)
class Table:
    """A mapping with text keys, in the order written, and the place of each key."""

    entries: Mapping[str, Node]
    keys: Mapping[str, Mark]
    mark: Mark

    def get(self, key: str) -> Node | None:
        """The node under a key, if there is one."""
        return self.entries.get(key)


Node = Scalar | Items | Table


def join(path: str, key: str) -> str:
    """The path of a key inside a section."""
    return f"{path}.{key}" if path else key


def read_tree(path: Path, shown_as: str | None = None) -> Node:
    """The tree of a YAML file. Raises SpecError with every fault that the file has as YAML."""
    file = shown_as if shown_as is not None else str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError([Problem(file, 0, 0, "", f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        raise SpecError([Problem(file, 0, 0, "", f"is larger than {MAX_BYTES} bytes, too large for a spec")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise SpecError([Problem(file, line, column, "", "is not UTF-8 text")]) from None
    return parse_tree(text, file)


def parse_tree(text: str, file: str) -> Node:
    """The tree of YAML text. Raises SpecError with every fault that the text has as YAML."""
    if len(text) > MAX_BYTES:
        raise SpecError([Problem(file, 0, 0, "", f"is larger than {MAX_BYTES} characters, too large for a spec")])
    try:
        composer = _Composer(text)
        node = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise SpecError([Problem(file, line, column, "", "holds a character that YAML does not allow")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError([Problem(file, 0, 0, "", f"is not YAML: {clipped(str(error))}")]) from None
    if node is None:
        raise SpecError([Problem(file, 1, 1, "", "is empty")])
    builder = _Builder(file)
    tree = builder.build(node, "", 0)
    if builder.problems:
        raise SpecError(builder.problems)
    return tree


def resolve_plain(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means (YAML 1.2 core schema). Raises ValueError for a number out of range."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            raise ValueError("is too large a number")
        prefix = text[:2].lower()
        base = {"0o": 8, "0x": 16}.get(prefix, 10)
        number = int(text[2:] if base != 10 else text, base)
        if abs(number) > LARGEST_INTEGER:
            raise ValueError("is too large a number")
        return number
    if _FLOAT.fullmatch(text):
        if "n" in text.lower():
            raise ValueError("is not a finite number")
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("is too large a number")
        return value
    return text


def to_python(node: Node) -> Any:
    """Plain dicts, lists and scalars; an unquoted `none` is null."""
    if isinstance(node, Table):
        return {key: to_python(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [to_python(item) for item in node.items]
    return None if node.value == "none" and not node.quoted else node.value


def from_python(value: object, mark: Mark) -> Node:
    """The tree of a plain value, all of it at one place."""
    if isinstance(value, Mapping):
        entries = {str(key): from_python(item, mark) for key, item in value.items()}
        return Table(entries, dict.fromkeys(entries, mark), mark)
    if isinstance(value, list | tuple):
        return Items(tuple(from_python(item, mark) for item in value), mark)
    if value is None or isinstance(value, bool | int | float | str):
        return Scalar(value, mark, quoted=isinstance(value, str))
    raise TypeError(f"no YAML for {type(value).__name__}")


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    children = node.entries.values() if isinstance(node, Table) else node.items if isinstance(node, Items) else ()
    for child in children:
        yield from walk(child)


def dump(node: Node) -> str:
    """The tree as YAML text that parses to the same tree."""
    text: str = yaml.dump(
        _plain(node), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False
    )
    return text


class _Quoted(str):
    """Text that must stay quoted."""


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {key: _plain(value) for key, value in node.entries.items()}
    if isinstance(node, Items):
        return [_plain(item) for item in node.items]
    return _Quoted(node.value) if isinstance(node.value, str) and node.quoted else node.value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(resolve_plain(data), str) and not isinstance(data, _Quoted)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(_Quoted, _represent_text)


class _Composer(yaml.SafeLoader):
    """Composes nodes without giving plain scalars a type, and stops early at deep or tagged ones."""

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
            raise yaml.MarkedYAMLError(None, None, f"a tag ({clipped(event.tag)}); specs use none", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class _Builder:
    """Turns PyYAML's nodes into ours; aliases are copied out, so their number is bounded here."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.built = 0

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def build(self, node: yaml.Node, path: str, depth: int) -> Node:
        mark = self.mark(node)
        self.built += 1
        if self.built > MAX_NODES or depth > MAX_DEPTH:
            raise SpecError([mark.problem(path, "aliases (*name) repeat more than a spec may hold")])
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, mark)
        if isinstance(node, yaml.SequenceNode):
            items = (self.build(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value))
            return Items(tuple(items), mark)
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            key_mark = self.mark(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(key_mark.problem(path, "a list or mapping as a key; keys are text"))
                continue
            if key == "<<":
                self.problems.append(key_mark.problem(path, "a merge key '<<'", "use `extends:` or write it out"))
                continue
            if key in entries:
                first = keys[key].line
                self.problems.append(
                    key_mark.problem(join(path, key), f"key {shown(key)} appears twice", f"it is first on line {first}")
                )
                continue
            keys[key] = key_mark
            entries[key] = self.build(value_node, join(path, key), depth + 1)
        return Table(entries, keys, mark)

    def scalar(self, node: yaml.ScalarNode, path: str, mark: Mark) -> Scalar:
        quoted = node.style is not None
        if quoted:
            return Scalar(node.value, mark, quoted=True)
        try:
            return Scalar(resolve_plain(node.value), mark)
        except ValueError as error:
            self.problems.append(mark.problem(path, f"{clipped(node.value)} {error}"))
            return Scalar(None, mark)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    text = clipped(" ".join(part for part in (error.problem, error.context) if part), 200)
    if "'\\t'" in text:
        return Problem(file, line, column, "", "a tab", "YAML indents with spaces")
    if error.context_mark is not None and error.context_mark.line + 1 != line:
        text += f" that began on line {error.context_mark.line + 1}"
    return Problem(file, line, column, "", text)
