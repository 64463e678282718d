from __future__ import annotations

import time
from pathlib import Path

import pytest

from archc.archspec import SpecError
from archc.archspec.source.yaml_tree import MAX_BYTES, Scalar, Table, dump, parse_tree, read_tree, to_python


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
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = to_python(parse_tree(f"a: {text}", "x"))["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_node_knows_its_place() -> None:
    tree = parse_tree("a: 1\nb:\n  c: [x, y]\n", "file.yaml")
    assert isinstance(tree, Table)
    inner = tree.entries["b"]
    assert isinstance(inner, Table)
    assert (inner.keys["c"].line, inner.keys["c"].column) == (3, 3)
    assert (inner.entries["c"].mark.file, inner.entries["c"].mark.column) == ("file.yaml", 6)


def test_dumped_text_parses_to_the_same_tree() -> None:
    text = "a: 1e-6\nb: 'no'\nc: [none, '3', '1e-6', ~, true, 'true', '0o17', x y]\nd: {e: ''}\n"
    tree = parse_tree(text, "x")
    assert to_python(parse_tree(dump(tree), "x")) == to_python(tree)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a: 1\na: 2\n", "x:2:1: a: key 'a' appears twice; it is first on line 1"),
        ("a: {b: 1, b: 2, b: 3}\n", "appears twice"),
        ("a:\n\t- b\n", "a tab; YAML indents with spaces"),
        ("? [a, b]\n: 1\n", "a list or mapping as a key"),
        ("a: .inf\n", "is not a finite number"),
        ("a: 1e999\n", "is too large a number"),
        ("a: " + "9" * 5000, "is too large a number"),
        ("a: 1\n---\nb: 2\n", "expected a single document"),
        ("a: \x01\n", "holds a character that YAML does not allow"),
        ("a: &x [*x]\n", "aliases"),
        ("a: *nothing\n", "undefined alias"),
        ("- " * 3000 + "a", "levels of nesting"),
        ("[" * 100_000, "levels of nesting"),
        ("{a: " * 50_000, "levels of nesting"),
        ("[" + "1," * 30_000 + "]", "values in one file"),
        ("a" * (MAX_BYTES + 1), "too large for a spec"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(SpecError, match=r"(?s).") as raised:
        parse_tree(text, "x")
    assert message in str(raised.value)
    assert time.monotonic() - started < 5


def test_every_duplicate_is_reported() -> None:
    with pytest.raises(SpecError) as raised:
        parse_tree("a: 1\na: 2\nb: {c: 1, c: 1}\n", "x")
    assert len(raised.value.problems) == 2


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_tree(tmp_path / "absent.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        read_tree(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(SpecError, match=r"latin\.yaml:2:4: is not UTF-8 text"):
        read_tree(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(SpecError, match="too large for a spec"):
        read_tree(large)


def test_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "dos.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    tree = read_tree(file)
    assert to_python(tree) == {"a": 1, "b": 2}
    assert isinstance(tree, Table)
    assert tree.entries["b"] == Scalar(2, tree.entries["b"].mark)
