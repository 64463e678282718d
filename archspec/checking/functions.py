"""Functions of expressions, and the arithmetic whose numbers are bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from archc.archspec.errors import format_value

MAX_INTEGER = 2**63
_MAX_DIGITS = 30  # of round(); beyond the precision of a double


class ExpressionError(ValueError):
    """Invalid text, or an expression whose evaluation fails; `hint` is the remedy."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def number(value: object) -> int | float:
    """Return a value that is a number. Raises ExpressionError for others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ExpressionError(f"expected a number, got {format_value(value)}")
    return value


def truth(value: object) -> bool:
    """Return a condition as a boolean. Raises ExpressionError for text."""
    if isinstance(value, str):
        raise ExpressionError(f"expected a condition, got the text {format_value(value)}")
    return bool(value)


def bounded(value: Any) -> Any:
    """Return a result. Raises ExpressionError for a number that is too large or not finite."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ExpressionError("the result is larger than 2**63")
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("the result is not a finite number")
    return value


def _numbers(arguments: tuple[Any, ...]) -> list[int | float]:
    values = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list | tuple) else arguments
    if not values:
        raise ExpressionError("min and max require at least one number")
    return [number(value) for value in values]


def _round(value: Any, digits: Any = None) -> int | float:
    if digits is None:
        return round(number(value))
    if isinstance(digits, bool) or not isinstance(digits, int) or abs(digits) > _MAX_DIGITS:
        raise ExpressionError(f"expected at most {_MAX_DIGITS} digits of round, got {format_value(digits)}")
    return round(number(value), digits)


def _make_divisible(value: Any, divisor: Any) -> int:
    """Return the nearest positive multiple of `divisor` that is at least 0.9 · value (Sandler et al. 2018)."""
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise ExpressionError(f"expected a positive integer as divisor, got {format_value(divisor)}")
    multiple = max(divisor, int(number(value) + divisor / 2) // divisor * divisor)
    return multiple if multiple >= 0.9 * value else multiple + divisor


def power(base: int | float, exponent: int | float) -> int | float:
    """Return base ** exponent, an integer for integers; computed in float64 first, so that its size is bounded."""
    try:
        value = math.pow(base, exponent)
    except OverflowError:
        raise ExpressionError("the result is larger than 2**63") from None
    except ValueError:
        raise ExpressionError(f"{base} ** {exponent} is not a real number") from None
    if isinstance(base, float) or isinstance(exponent, float) or exponent < 0:
        return value
    if abs(value) > MAX_INTEGER:
        raise ExpressionError("the result is larger than 2**63")
    return int(base**exponent)


def _lower(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ExpressionError(f"expected text, got {format_value(value)}")
    return value.lower()


def _length(value: Any) -> int:
    if not isinstance(value, list | tuple | str | Mapping):
        raise ExpressionError(f"expected a list, a mapping or text, got {format_value(value)}")
    return len(value)


def _first(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise ExpressionError("an empty list has no first item")
        return value[0]
    return value


def _index(items: Any, item: Any) -> int:
    if not isinstance(items, list | tuple):
        raise ExpressionError(f"expected a list, got {format_value(items)}")
    if item not in items:
        raise ExpressionError(f"{format_value(item)} is not in {format_value(items)}")
    return items.index(item)


@dataclass(frozen=True)
class Function:
    """A function with its least and largest number of arguments."""

    call: Callable[..., Any]
    min_args: int
    max_args: int


FUNCTIONS: Mapping[str, Function] = {
    "min": Function(lambda *xs: min(_numbers(xs)), 1, 16),
    "max": Function(lambda *xs: max(_numbers(xs)), 1, 16),
    "abs": Function(lambda x: abs(number(x)), 1, 1),
    "sqrt": Function(lambda x: math.sqrt(number(x)), 1, 1),
    "ceil": Function(lambda x: math.ceil(number(x)), 1, 1),
    "floor": Function(lambda x: math.floor(number(x)), 1, 1),
    "round": Function(_round, 1, 2),
    "log": Function(lambda x: math.log(number(x)), 1, 1),
    "log2": Function(lambda x: math.log2(number(x)), 1, 1),
    "exp": Function(lambda x: math.exp(number(x)), 1, 1),
    "exp2": Function(lambda x: math.exp2(number(x)), 1, 1),
    "int": Function(lambda x: int(number(x)), 1, 1),
    "float": Function(lambda x: float(number(x)), 1, 1),
    "first": Function(_first, 1, 1),
    "index": Function(_index, 2, 2),
    "len": Function(_length, 1, 1),
    "lower": Function(_lower, 1, 1),
    "make_divisible": Function(_make_divisible, 2, 2),
}
