from __future__ import annotations

import time
from pathlib import Path

import pytest

from archc.archspec import SpecError
from archc.archspec.source import yaml_reader
from archc.archspec.source.nodes import MappingNode, ScalarNode, to_python
from archc.archspec.source.yaml_reader import MAX_BYTES, parse_tree, read_tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("TRUE", True),
        ("~", None),
        ("none", None),
        ("'none'", "none"),
        ("'3'", "3"),
        ('"1e-6"', "1e-6"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    actual = to_python(parse_tree(f"a: {text}", "x"))["a"]
    assert actual == value
    assert type(actual) is type(value)


def test_every_node_has_its_position() -> None:
    tree = parse_tree("a: 1\nb:\n  c: [x, y]\n", "file.yaml")
    assert isinstance(tree, MappingNode)
    inner = tree.entries["b"]
    assert isinstance(inner, MappingNode)
    assert (inner.key_marks["c"].line, inner.key_marks["c"].column) == (3, 3)
    assert (inner.entries["c"].mark.file, inner.entries["c"].mark.column) == ("file.yaml", 6)


INVALID = {
    "empty": ("", "the file is empty"),
    "duplicate key": ("a: 1\na: 2\n", "x:2:1: a: duplicate key 'a'; remove one; the first is on line 1"),
    "duplicate key in flow style": ("a: {b: 1, b: 2, b: 3}\n", "duplicate key 'b'"),
    "tab": ("a:\n\t- b\n", "a tab in the indentation; indent with spaces"),
    "list as key": ("? [a, b]\n: 1\n", "expected text as a key, got a list or a mapping"),
    "infinite number": ("a: .inf\n", "is not a finite number"),
    "large float": ("a: 1e999\n", "1e999 is too large"),
    "large integer": ("a: " + "9" * 5000, "is too large"),
    "two documents": ("a: 1\n---\nb: 2\n", "expected a single document"),
    "control character": ("a: \x01\n", "the character is not allowed in YAML"),
    "alias of itself": ("a: &x [*x]\n", "aliases"),
    "unknown alias": ("a: *nothing\n", "undefined alias"),
    "nested block lists": ("- " * 3000 + "a", "levels of nesting"),
    "nested flow lists": ("[" * 100_000, "levels of nesting"),
    "nested flow mappings": ("{a: " * 50_000, "levels of nesting"),
    "many values": ("[" + "1," * 30_000 + "]", "values in one file"),
    "long text": ("a" * (MAX_BYTES + 1), "the limit for a spec"),
}


@pytest.mark.parametrize(("text", "message"), INVALID.values(), ids=INVALID)
def test_invalid_text_is_rejected_quickly(text: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(SpecError, match=r"(?s).") as raised:
        parse_tree(text, "x")
    assert message in str(raised.value)
    assert time.monotonic() - started < 5


READ_BY_BOTH = {
    "nested": "a: &x [1, {b: 2}]\nc:\n- *x\n- *x\n- 'q'\n- |\n  text\n",
    "tab in flow style": "a: [b,\tc]\n",
    "tab between key and value": "a:\t1\n",
    "question mark in flow style": "a: [b?, c]\n",
    "next line": "a: b\x85c: d\n",
    "line separator": "a: b\u2028c: d\n",
    "tag": "a: !b,\n",
    "fault of syntax": "a: [1\nb: 2\n",
    "fault of a value": "a: 1e999\nb: .inf\n",
}


@pytest.mark.parametrize("text", READ_BY_BOTH.values(), ids=READ_BY_BOTH)
def test_libyaml_and_the_scanner_in_python_agree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> object:
        try:
            return parse_tree(text, "x")
        except SpecError as error:
            return str(error)

    assert yaml_reader._FAST_LOADER is not None
    fast = read()
    monkeypatch.setattr(yaml_reader, "_FAST_LOADER", None)
    assert fast == read()


def test_aliases_count_as_the_values_they_expand_to() -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(SpecError, match=r"x:5:45: a4\[7\]: aliases .* expand to more than 20000 values"):
        parse_tree(f"a0: &a0 [1, 2]\n{levels}", "x")
    deep = "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40))
    with pytest.raises(SpecError, match="or 32 levels"):
        parse_tree(f"a0: &a0 1\n{deep}", "x")
    with pytest.raises(SpecError, match="the anchor &x is defined twice; rename one"):
        parse_tree("a: &x 1\nb: &x 2\n", "x")


def test_every_duplicate_is_reported() -> None:
    with pytest.raises(SpecError) as raised:
        parse_tree("a: 1\na: 2\nb: {c: 1, c: 1}\n", "x")
    assert len(raised.value.problems) == 2


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read the file: No such file"):
        read_tree(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot read the file: Is a directory"):
        read_tree(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(SpecError, match=r"latin\.yaml:2:4: invalid UTF-8"):
        read_tree(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match="the limit for a spec"):
        read_tree(large)


def test_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "dos.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    tree = read_tree(file)
    assert to_python(tree) == {"a": 1, "b": 2}
    assert isinstance(tree, MappingNode)
    assert tree.entries["b"] == ScalarNode(2, tree.entries["b"].mark)
