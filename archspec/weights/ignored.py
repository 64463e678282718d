"""Patterns of `weights.ignore`: names of tensors without effect, in which `{…}` stands for numbers of the config."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archc.archspec.checking.checker import Checker
from archc.archspec.checking.expressions import Expression
from archc.archspec.checking.functions import ExpressionError
from archc.archspec.source.nodes import Mark

_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}:]+))?\}")
_MAX_NUMBERS = 1000


@dataclass(frozen=True)
class IgnoredNames:
    """One pattern with numbers of the config.

    `{start}` in it stands for a number or for each of a list, `{start:stop}` for each number from start to before stop.
    """

    text: str
    start: Expression | None = None
    stop: Expression | None = None

    @property
    def names(self) -> frozenset[str]:
        """Return the names that the expressions read."""
        return frozenset().union(*(item.names for item in (self.start, self.stop) if item is not None))

    def patterns(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Yield the pattern with each of its numbers. Raises ExpressionError if a number cannot be computed."""
        if self.start is None:
            yield self.text
            return
        if not self.names <= values.keys():
            return  # a missing value is reported where it is missing
        first = self.start.evaluate(values)
        numbers: Sequence[object] = first if isinstance(first, list | tuple) and self.stop is None else [first]
        if self.stop is not None:
            numbers = range(_whole(first), _whole(self.stop.evaluate(values)))
        for number in numbers[:_MAX_NUMBERS]:
            yield _FIELD.sub(str(_whole(number)), self.text)


def check_ignored(text: str, mark: Mark, checker: Checker) -> IgnoredNames:
    """Return a pattern with its expressions parsed; append problems to the checker's."""
    fields = _FIELD.findall(text)
    if len(fields) > 1 or _FIELD.sub("", text).count("{"):
        message = "expected at most one {number} or {start:stop} in a pattern"
        checker.problems.append(mark.problem("weights.ignore", message, "use several patterns"))
        return IgnoredNames(text)
    if not fields:
        return IgnoredNames(text)
    start, stop = (checker.expression(part, mark, "weights.ignore") if part else None for part in fields[0])
    return IgnoredNames(text, start, stop)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpressionError(f"expected an integer, got {value!r}")
    return value
