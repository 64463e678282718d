"""The catalog of shipped specs: their files, headers and lookup by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from archc.archspec.errors import (
    Problem,
    SpecError,
    did_you_mean,
    format_value,
    join_hints,
)
from archc.archspec.source.header import Header, check_header
from archc.archspec.source.nodes import MappingNode
from archc.archspec.source.yaml_reader import read_tree

SUFFIXES = (".yaml", ".yml")
LIST_SPECS = "`archc list` prints the shipped specs"


class ShippedSpec(NamedTuple):
    """One shipped spec, with the names of its sizes; `problems` holds those of its file and header only."""

    name: str
    path: Path
    description: str
    problems: tuple[Problem, ...] = ()
    sizes: tuple[str, ...] = ()


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
        specs.append(ShippedSpec(name, path, header.description, problems, header.sizes))
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
    hint = join_hints(did_you_mean(text, available) or LIST_SPECS, "for a file, add the suffix .yaml")
    raise SpecError([Problem("", 0, 0, "", f"spec {format_value(text)} not found", hint)])


def valid_headers(paths: Mapping[str, Path]) -> tuple[dict[str, Header], list[Problem]]:
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
