from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import ConfigError, parse_config, read_config


def test_reads_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": [1, 2.5, null, {"b": "c"}]}')
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == {"a": [1, 2.5, None, {"b": "c"}]}


INVALID: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "x:1:1: invalid JSON"),
    "trailing comma": ('{"a": 1,}', "invalid JSON"),
    "list": ("[1]", "expected a JSON object, got [1]"),
    "duplicate key": ('{"a": 1, "a": 1}', "duplicate key 'a'; remove one"),
    "inner duplicate key": ('{"b": {"a": 1, "a": 2}}', "duplicate key 'a'"),
    "NaN": ('{"a": NaN}', "NaN is not valid JSON"),
    "infinity": ('{"a": -Infinity}', "-Infinity is not valid JSON"),
    "large float": ('{"a": 1e999}', "1e999 is too large"),
    "large integer": ('{"a": ' + "9" * 6000 + "}", "is too large"),
    "deep nesting": ('{"a": ' + "[" * 200_000, "the nesting is too deep"),
    "Latin-1": (b'{"a": "\xff"}', "invalid UTF-8"),
    "byte order mark": (b"\xef\xbb\xbf{}", "invalid JSON"),
}


@pytest.mark.parametrize(("text", "message"), INVALID.values(), ids=INVALID)
def test_text_that_is_not_strict_json(text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "x")
    assert message in str(raised.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        read_config(tmp_path)


@pytest.mark.parametrize("limit", ["Infinity", '{"__float__": "Infinity"}'])
def test_an_infinite_limit_is_a_text(limit: str) -> None:
    assert parse_config(f'{{"limits": [0.0, {limit}]}}', "config.json") == {"limits": [0.0, "Infinity"]}
