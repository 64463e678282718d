"""Keys of a config.json that the user ignores with --ignore-config."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archc.archspec.errors import ConfigError, Problem, clip, did_you_mean


def without_keys(config: Mapping[str, Any], patterns: Sequence[str], file: str) -> Mapping[str, Any]:
    """Return the config without the keys that match a pattern; a dot descends into a mapping.

    Raises ConfigError for a pattern that matches no key.
    """
    keys = list(_keys(config))
    problems = []
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(key, pattern) for key in keys):
            hint = did_you_mean(pattern, keys) or "remove the option"
            problems.append(Problem(f"--ignore-config {clip(pattern)}", 0, 0, "", f"not a key of {file}", hint))
    if problems:
        raise ConfigError(problems)
    return _without(config, patterns, "")


def _keys(config: Mapping[str, Any], parent: str = "", depth: int = 0) -> Iterator[str]:
    for name, value in config.items():
        yield f"{parent}{name}"
        if isinstance(value, Mapping) and depth < 4:
            yield from _keys(value, f"{parent}{name}.", depth + 1)


def _without(config: Mapping[str, Any], patterns: Sequence[str], parent: str) -> dict[str, Any]:
    result = {}
    for name, value in config.items():
        key = f"{parent}{name}"
        if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns):
            continue
        is_inside = isinstance(value, Mapping) and any(pattern.startswith(f"{key}.") for pattern in patterns)
        result[name] = _without(value, patterns, f"{key}.") if is_inside else value
    return result
