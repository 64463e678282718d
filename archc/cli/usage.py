"""Messages of the command-line parser's errors, in the form of archc's own."""

from __future__ import annotations

import re
from typing import Any

_REFUSED = re.compile(r"'?(?P<value>.*?)'? is not (a valid|in the range) ", re.DOTALL)


def usage_message(error: Any) -> str:
    """Return the text of an error of the parser, as `<option>: <fault>; <remedy>`.

    The class of these errors has moved from click into typer, so that `error` has no name of a type here.
    """
    parameter: Any = getattr(error, "param", None)
    context: Any = error.ctx
    number = _number(parameter.type) if parameter is not None else ""
    refused = _REFUSED.match(error.message) if number else None
    if parameter is not None and refused is not None:
        text = f"{parameter.opts[0]}: expected {number}, got {refused['value']}"
    else:
        text = error.format_message().rstrip(".")
        text = text[:1].lower() + text[1:]
    return f"{text}; see {context.command_path} --help" if context is not None else text


def _number(kind: Any) -> str:
    """Return the numbers that a type of the parser allows, or an empty text for another type."""
    if kind.name not in ("int", "int range", "float", "float range", "integer", "integer range"):
        return ""
    noun = "a number" if kind.name.startswith("float") else "an integer"
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is not None and high is not None:
        return f"{noun} from {low} to {high}"
    if low is not None:
        return f"{noun} of at least {low}"
    return noun if high is None else f"{noun} of at most {high}"
