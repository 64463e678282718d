"""The shipped specs: where they are, what they are called, and which one a checkpoint needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from archc.archspec.errors import ConfigError, Problem, SpecError, did_you_mean, hints, listed, shown
from archc.archspec.source.header import Header, check_header
from archc.archspec.source.yaml_tree import Table, read_tree

SUFFIXES = (".yaml", ".yml")


class Listed(NamedTuple):
    """One shipped spec; `problems` are the faults of its file and header, and no others."""

    name: str
    path: Path
    description: str
    problems: tuple[Problem, ...] = ()


def specs_dir() -> Path:
    """Return the folder of shipped specs, `archc/specs`."""
    return Path(__file__).parents[2] / "specs"


def shipped() -> dict[str, Path]:
    """The shipped specs by name."""
    return {path.stem: path for path in sorted(specs_dir().glob("*.yaml"))}


def list_specs() -> list[Listed]:
    """Every shipped spec with its description. One that cannot be read hides no other: its `problems` say why."""
    found = []
    for name, path in shipped().items():
        header, problems = _header(path, *_version(path))
        found.append(Listed(name, path, header.description, problems))
    return found


def find_spec(name_or_path: str | Path) -> Path:
    """The file of a spec: a path, or the name of a shipped spec. Raises SpecError when there is none."""
    text = str(name_or_path)
    path = Path(name_or_path)
    if path.suffix in SUFFIXES or isinstance(name_or_path, Path) or len(path.parts) > 1:
        return path
    known = shipped()
    if text in known:
        return known[text]
    shipped_ones = did_you_mean(text, known) or (f"shipped specs: {listed(known)}" if known else "")
    hint = hints(shipped_ones, "a file is named with .yaml")
    raise SpecError([Problem("", 0, 0, "", f"there is no spec {shown(text)}", hint)])


def detect_spec(config: Mapping[str, Any], where: str = "config.json") -> str:
    """The name of the shipped spec that a config.json is for, by `match:`.

    Raises ConfigError when no spec or more than one fits, and says which come close. A spec with a faulty header fits
    nothing; where no other does either, its faults are among the problems.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        message = (
            "the key 'model_type' is missing" if model_type is None else f"{shown(model_type)} is not a model type"
        )
        raise ConfigError([Problem(where, 0, 0, "model_type", message, "name the spec instead")])
    found = config.get("architectures")
    architectures = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    # Reading YAML takes most of the time, and few specs write the model type down.
    mentioning = {name: path for name, path in shipped().items() if _mentions(path, model_type)}
    headers, _ = _headers(mentioning)
    fitting = [name for name, header in headers.items() if _fits(header, model_type, architectures)]
    if len(fitting) == 1:
        return fitting[0]
    headers, faults = _headers(shipped())
    by_type = {name: header for name, header in headers.items() if model_type in header.model_types}
    if fitting:
        message = f"model_type {shown(model_type)} fits several specs: {listed(fitting)}"
        raise ConfigError([Problem(where, 0, 0, "model_type", message, "name one of them")])
    if by_type:
        known = sorted({name for header in by_type.values() for name in header.architectures})
        message = f"{shown(architectures)} is none of the architectures that the specs for {shown(model_type)} know"
        hint = f"known: {listed(known)} (specs: {listed(by_type)})"
        raise ConfigError([Problem(where, 0, 0, "architectures", message, hint), *faults])
    types = sorted({name for header in headers.values() for name in header.model_types})
    hint = hints(did_you_mean(model_type, types), f"known: {listed(types)}")
    message = f"no spec is for model_type {shown(model_type)}"
    raise ConfigError([Problem(where, 0, 0, "model_type", message, hint), *faults])


def _fits(header: Header, model_type: str, architectures: list[str]) -> bool:
    if model_type not in header.model_types:
        return False
    return not header.architectures or not architectures or bool(set(header.architectures) & set(architectures))


def _mentions(path: Path, word: str) -> bool:
    """Whether a file can be read and has the word in it."""
    try:
        return word.encode() in path.read_bytes()
    except OSError:
        return False


def _headers(paths: Mapping[str, Path]) -> tuple[dict[str, Header], list[Problem]]:
    """What the specs of these names say of themselves, less those with a faulty header, and the faults."""
    headers: dict[str, Header] = {}
    faults: list[Problem] = []
    for name, path in paths.items():
        header, problems = _header(path, *_version(path))
        faults += problems
        if not problems:
            headers[name] = header
    return headers, faults


def _version(path: Path) -> tuple[int, int]:
    """What changes when a file does: its size, and the time of its last change in nanoseconds."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@cache
def _header(path: Path, size: int, changed: int) -> tuple[Header, tuple[Problem, ...]]:
    """What a spec of that size and time says of itself, and the faults of that; read once, since YAML is slow."""
    try:
        tree = read_tree(path)
    except SpecError as error:
        return Header(), error.problems
    if not isinstance(tree, Table):
        return Header(), (tree.mark.problem("", "a mapping is expected"),)
    problems: list[Problem] = []
    header = check_header(tree, problems)
    return header, tuple(problems)
