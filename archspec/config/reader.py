"""Reader of config.json: strict JSON within limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from archc.archspec.checking.functions import MAX_INTEGER
from archc.archspec.errors import ConfigError, Problem, clip, format_value

INFINITY = "Infinity"
"""An infinite number in a config, for a limit that is none; the text is refused where a number is expected."""

_DAMAGED = "correct the file, or download it again"

MAX_BYTES = 16 * 1024 * 1024  # the id2label of a classifier may be long


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the content of a config.json, or of the one in a folder. Raises ConfigError if it is not strict JSON."""
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([Problem(str(file), 0, 0, "", f"cannot read the file: {reason}")]) from None
    if len(data) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES} bytes, the limit for a config"
        raise ConfigError([Problem(str(file), 0, 0, "", message)])
    return parse_config(data, str(file))


def parse_config(data: str | bytes, file: str) -> dict[str, Any]:
    """Return the content of a config.json from its text. Raises ConfigError if it is not strict JSON."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_float,
        )
    except json.JSONDecodeError as error:
        raise ConfigError(
            [Problem(file, error.lineno, error.colno, "", f"invalid JSON: {error.msg}", _DAMAGED)]
        ) from None
    except UnicodeDecodeError:
        raise ConfigError([Problem(file, 0, 0, "", "invalid UTF-8; save the file as UTF-8")]) from None
    except RecursionError:
        raise ConfigError([Problem(file, 0, 0, "", "the nesting is too deep")]) from None
    except ValueError as error:
        raise ConfigError([Problem(file, 0, 0, "", clip(str(error), 200))]) from None
    if not isinstance(value, dict):
        raise ConfigError([Problem(file, 1, 1, "", f"expected a JSON object, got {format_value(value)}")])
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> Any:
    result = dict(pairs)
    if result == {"__float__": INFINITY}:  # the spelling of transformers 5
        return INFINITY
    if len(result) < len(pairs):
        seen: set[str] = set()
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate key {format_value(duplicate)}; remove one")
    return result


def _constant(text: str) -> str:
    if text == INFINITY:
        return text
    raise ValueError(f"{text} is not valid JSON; use a finite number")


def _bounded_integer(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{clip(text)} is too large")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{clip(text)} is too large")
    return value
