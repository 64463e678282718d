"""Errors are part of the language: what was found, where, what was expected, and what to do next."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from archc.error import Error

_LONGEST_VALUE = 60
_LONGEST_WORD = 100  # difflib is quadratic in the length of what it compares


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of an input: its place, what is wrong there, and what to do. Line 0 means no line is known."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return printable(": ".join(part for part in (place, self.path, text) if part))


class ArchspecError(Error):
    """Base of every error that archspec raises for a fault in its input; `problems` holds all that were found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


class SpecError(ArchspecError):
    """A spec that cannot be loaded, or whose values make no sense once they are bound; in the order of its lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = list(problems)
        files = list(dict.fromkeys(problem.file for problem in found))
        super().__init__(sorted(found, key=lambda problem: (files.index(problem.file), problem.line, problem.column)))


class ConfigError(ArchspecError):
    """A config.json that cannot be read, lacks a value, or says something that the spec does not know."""


class WeightsError(ArchspecError):
    """A checkpoint whose tensors do not fill the model's slots one for one."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that `word` most likely stands for, if any is close."""
    by_lower = {candidate.lower(): candidate for candidate in words}
    found = difflib.get_close_matches(word[:_LONGEST_WORD].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint that names the nearest of `words`, or an empty one."""
    found = nearest(word, words)
    return f"did you mean '{found}'?" if found is not None else ""


def hints(*parts: str) -> str:
    """Several hints as one; empty ones vanish."""
    return "; ".join(part for part in parts if part)


def shown(value: object) -> str:
    """A value as a message shows it: in JSON's spelling and clipped, on one line."""
    if isinstance(value, str):
        text = "'" + clipped(value) + "'"
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            text = repr(value)
    return clipped(text, _LONGEST_VALUE + 2)


def clipped(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Text on one line, cut when it is long."""
    line = printable(text[: longest + 1])
    return line if len(line) <= longest else line[: longest - 1] + "…"


def printable(text: str) -> str:
    """Text with line breaks, control characters and lone surrogates written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def listed(words: Iterable[object]) -> str:
    """Words of a list, as a message shows them."""
    return ", ".join(str(word) for word in words)
