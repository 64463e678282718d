"""The catalog of shipped specs: lookup by name, and detection by a checkpoint's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from archc.archspec.errors import (
    ConfigError,
    Problem,
    SpecError,
    did_you_mean,
    format_list,
    format_value,
    join_hints,
)
from archc.archspec.source.header import Header, check_header
from archc.archspec.source.nodes import MappingNode
from archc.archspec.source.yaml_reader import read_tree

SUFFIXES = (".yaml", ".yml")


class ShippedSpec(NamedTuple):
    """One shipped spec; `problems` holds those of its file and header only."""

    name: str
    path: Path
    description: str
    problems: tuple[Problem, ...] = ()


def specs_dir() -> Path:
    """Return the folder of shipped specs, `archc/specs`."""
    return Path(__file__).parents[2] / "specs"


def shipped() -> dict[str, Path]:
    """Return the files of the shipped specs by name."""
    return {path.stem: path for path in sorted(specs_dir().glob("*.yaml"))}


def list_specs() -> list[ShippedSpec]:
    """Return every shipped spec with its description; an invalid one is in the list with its problems."""
    specs = []
    for name, path in shipped().items():
        header, problems = _header(path, *_version(path))
        specs.append(ShippedSpec(name, path, header.description, problems))
    return specs


def find_spec(name_or_path: str | Path) -> Path:
    """Return the file of a spec: a path, or the name of a shipped spec. Raises SpecError for an unknown name."""
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or isinstance(name_or_path, Path) or len(path.parts) > 1:
        return path
    available = shipped()
    if text in available:
        return available[text]
    candidates = did_you_mean(text, available) or (f"shipped specs: {format_list(available)}" if available else "")
    hint = join_hints(candidates, "for a file, add the suffix .yaml")
    raise SpecError([Problem("", 0, 0, "", f"spec {format_value(text)} not found", hint)])


def detect_spec(config: Mapping[str, Any], file: str = "config.json") -> str:
    """Return the name of the shipped spec whose `match:` fits a config.json.

    Raises ConfigError, with the closest candidates, if no spec or more than one matches. Specs with an invalid header
    are skipped; if no other spec matches, their problems are part of the error.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        message = (
            "missing key 'model_type'"
            if model_type is None
            else f"expected the model type as text, got {format_value(model_type)}"
        )
        raise ConfigError([Problem(file, 0, 0, "model_type", message, "pass the name of a spec")])
    names = config.get("architectures")
    architectures = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    # Reading YAML takes most of the time, and few files contain the model type.
    mentioning = {name: path for name, path in shipped().items() if _contains(path, model_type)}
    headers, _ = _valid_headers(mentioning)
    matching = [name for name, header in headers.items() if _matches(header, model_type, architectures)]
    if len(matching) == 1:
        return matching[0]
    headers, problems = _valid_headers(shipped())
    by_type = {name: header for name, header in headers.items() if model_type in header.model_types}
    if matching:
        message = f"model_type {format_value(model_type)} matches several specs: {format_list(matching)}"
        raise ConfigError([Problem(file, 0, 0, "model_type", message, "pass the name of one of them")])
    if by_type:
        supported = sorted({name for header in by_type.values() for name in header.architectures})
        message = f"no spec for model_type {format_value(model_type)} matches {format_value(architectures)}"
        hint = f"supported: {format_list(supported)} (specs: {format_list(by_type)})"
        raise ConfigError([Problem(file, 0, 0, "architectures", message, hint), *problems])
    types = sorted({name for header in headers.values() for name in header.model_types})
    hint = join_hints(did_you_mean(model_type, types), f"supported: {format_list(types)}")
    message = f"no spec matches model_type {format_value(model_type)}"
    raise ConfigError([Problem(file, 0, 0, "model_type", message, hint), *problems])


def _matches(header: Header, model_type: str, architectures: list[str]) -> bool:
    if model_type not in header.model_types:
        return False
    return not header.architectures or not architectures or bool(set(header.architectures) & set(architectures))


def _contains(path: Path, text: str) -> bool:
    """Return whether a file is readable and contains `text`."""
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


def _valid_headers(paths: Mapping[str, Path]) -> tuple[dict[str, Header], list[Problem]]:
    """Return the valid headers by spec name, and the problems of the others."""
    headers: dict[str, Header] = {}
    problems: list[Problem] = []
    for name, path in paths.items():
        header, header_problems = _header(path, *_version(path))
        problems += header_problems
        if not header_problems:
            headers[name] = header
    return headers, problems


def _version(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and its modification time in nanoseconds, the key of the header cache."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@cache
def _header(path: Path, size: int, modified: int) -> tuple[Header, tuple[Problem, ...]]:
    """Return the header and the problems of a file; cached per version of the file, because reading YAML is slow."""
    try:
        tree = read_tree(path)
    except SpecError as error:
        return Header(), error.problems
    if not isinstance(tree, MappingNode):
        return Header(), (tree.mark.problem("", "expected a mapping"),)
    problems: list[Problem] = []
    header = check_header(tree, problems)
    return header, tuple(problems)
