"""Values of generation options, from the texts of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from archc.cli.commands.options import parse_ids
from archc.cli.console import UsageError

_GRAMMAR_LIMIT = 512 << 10


def parse_boolean(text: str, option: str) -> bool:
    """Return the value of yes, no, true or false. Raises UsageError for another text."""
    values = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in values:
        raise UsageError(f"{option}: expected yes or no, got {text:.40}")
    return values[text.lower()]


def parse_integer(text: str, option: str) -> int:
    """Return an integer. Raises UsageError for another text."""
    try:
        return int(text[:20])
    except ValueError:
        raise UsageError(f"{option}: {text[:40]!r} is not an integer; expected 20, for example") from None


def parse_bias(text: str) -> tuple[list[int], float]:
    """Return the tokens and the bias of `1,2=0.5`."""
    ids, equals, value = text.rpartition("=")
    if not equals:
        raise UsageError(f"--sequence-bias: expected 1,2=0.5, for example, got {text:.40}")
    return parse_ids(ids, "--sequence-bias"), parse_number(value, "--sequence-bias", "1,2=0.5")


def parse_logit_bias(texts: list[str] | None) -> dict[int, float]:
    """Return the biases by token of texts such as `42=-1.5`."""
    biases: dict[int, float] = {}
    for text in texts or ():
        token, _, value = text.partition("=")
        if not token.strip().isdecimal():
            raise UsageError(f"--logit-bias: expected 42=-1.5, for example, got {text:.40}")
        if int(token) in biases:
            raise UsageError(f"--logit-bias: token {int(token)} occurs twice; remove one")
        biases[int(token)] = parse_number(value, "--logit-bias", "42=-1.5")
    return biases


def parse_decay(text: str | None) -> tuple[int, float] | None:
    """Return the first new token and the factor of `20,1.1`."""
    if text is None:
        return None
    begin, comma, factor = text.partition(",")
    if not (comma and begin.strip().isdecimal()):
        raise UsageError(f"--exponential-decay-length-penalty: expected 20,1.1, for example, got {text:.40}")
    return int(begin), parse_number(factor, "--exponential-decay-length-penalty", "20,1.1")


def parse_early_stopping(text: str | None) -> bool | Literal["never"] | None:
    """Return the value of --early-stopping."""
    values: dict[str | None, bool | Literal["never"] | None] = {None: None, "yes": True, "no": False, "never": "never"}
    if text not in values:
        raise UsageError(f"--early-stopping: expected yes, no or never, got {text:.40}")
    return values[text]


def parse_speculate(text: str | None) -> int | Literal["auto", "off"] | None:
    """Return the value of --speculate."""
    words: dict[str | None, Literal["auto", "off"] | None] = {None: None, "auto": "auto", "off": "off"}
    if text in words:
        return words[text]
    assert text is not None
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise UsageError(f"--speculate: expected a number of tokens, off or auto, got {text:.40}")
    return int(text)


def parse_number(text: str, option: str, example: str) -> float:
    """Return a number. Raises UsageError, which names an example, for another text."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option}: {text[:40]!r} is not a number; expected {example}, for example") from None


def read_schema(text: str | None) -> str | None:
    """Return a JSON schema, given as such or as a file."""
    if text is None or text.lstrip().startswith("{"):
        return text
    return read_grammar(Path(text), "--json-schema")


def read_grammar(path: Path | None, option: str = "--grammar") -> str | None:
    """Return the text of a file; raise UsageError if it is not readable, too large or not UTF-8."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_GRAMMAR_LIMIT + 1)
        if len(content) > _GRAMMAR_LIMIT:
            raise UsageError(f"{option}: {path}: larger than {_GRAMMAR_LIMIT >> 10} KiB; simplify it")
        return content.decode()
    except OSError as error:
        raise UsageError(f"{option}: {path}: {error.strerror}; pass a readable file") from None
    except ValueError:
        raise UsageError(f"{option}: {path}: not valid UTF-8; save it as UTF-8") from None
