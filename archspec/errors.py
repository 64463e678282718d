"""Errors of the spec language: every problem names its place, the fault and the remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from archc.error import Error

_MAX_VALUE_LENGTH = 60
_MAX_MATCH_LENGTH = 100  # difflib is quadratic in the length of its arguments


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of an input: place, key path, message and remedy. Line 0 stands for an unknown line."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        path = "" if place == f"--set {self.path}" else self.path  # an override has its path as its place
        return escape(": ".join(part for part in (place, path, text) if part))


class ArchspecError(Error):
    """Base class of archspec's errors; `problems` holds every problem of the input."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(map(str, self.problems)))


class SpecError(ArchspecError):
    """An invalid spec, or bound values that contradict each other; problems are in the order of their lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unsorted = list(problems)
        files = list(dict.fromkeys(problem.file for problem in unsorted))
        super().__init__(
            sorted(unsorted, key=lambda problem: (files.index(problem.file), problem.line, problem.column))
        )


class ConfigError(ArchspecError):
    """A config.json that is not valid JSON, lacks a required key, or has a key or value that is not supported."""


class WeightsError(ArchspecError):
    """A checkpoint whose tensors do not match the model's weight slots one to one."""


def closest_match(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate closest to `word` by spelling, or None if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(word[:_MAX_MATCH_LENGTH].lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a hint with the closest candidate, or an empty string."""
    match = closest_match(word, candidates)
    return f"did you mean '{match}'?" if match is not None else ""


def join_hints(*hints: str) -> str:
    """Join hints with semicolons; empty ones are left out."""
    return "; ".join(hint for hint in hints if hint)


def format_value(value: object) -> str:
    """Return a value for a message: one line in JSON spelling, truncated; strings in single quotes."""
    if isinstance(value, str):
        text = "'" + clip(value) + "'"
    else:
        try:
            text = json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            text = repr(value)
    return clip(text, _MAX_VALUE_LENGTH + 2)


def clip(text: str, length: int = _MAX_VALUE_LENGTH) -> str:
    """Return `text` on one line, truncated to `length` characters."""
    line = escape(text[: length + 1])
    return line if len(line) <= length else line[: length - 1] + "…"


def escape(text: str) -> str:
    """Return `text` with line breaks, control characters and lone surrogates as escape sequences."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def format_list(items: Iterable[object]) -> str:
    """Return items separated by commas."""
    return ", ".join(str(item) for item in items)
