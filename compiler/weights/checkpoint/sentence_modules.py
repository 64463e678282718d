"""Folders of sentence-transformers: modules.json, whose pooling and normalization become the spec's pooler."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError

MODULES = "modules.json"
# Modules that change nothing: the transformer itself, and dropout, which is off.
_NEUTRAL = ("Transformer", "Dropout")
# Pooler kinds by their name in files, in the older and the newer form.
_POOLERS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_cls_token": "cls",
    "mean": "mean",
    "max": "max",
    "cls": "cls",
}
_WAY_OUT = "choose a pooler of the spec with --set pooler=mean, which reads no module"


def pooler_override(folder: Path) -> str | None:
    """Return the override `pooler={kind: …, normalize: …}` of a folder's modules, or None without a Pooling module.

    Raises BuildError for modules and modes that are not supported, and for damaged files.
    """
    kind, normalize = None, False
    for name, path in _read_modules(folder / MODULES):
        if name == "Pooling":
            kind = _read_pooling(folder / path / "config.json")
        elif name == "Normalize":
            normalize = True
        elif name not in _NEUTRAL:
            raise BuildError(f"{folder / MODULES}: the module {name:.60} is not supported; {_WAY_OUT}")
    if kind is None:
        return None
    return f"pooler={{kind: {kind}, normalize: {str(normalize).lower()}}}"


def choose_pooler(
    folder: Path | None, topology: str, overrides: Sequence[str], warn: Callable[[str], None]
) -> str | None:
    """Return the override of a folder's pooler, or None for a folder without one, or if `overrides` choose a pooler."""
    if folder is None or not (folder / MODULES).is_file():
        return None
    if any(text.split("=")[0].split(".")[0].strip() == "pooler" for text in overrides):
        return None
    if topology != "encoder":
        warn(f"{folder / MODULES}: poolers of a decoder are not supported, so the plan has no pooled output")
        return None
    return pooler_override(folder)


def _read_modules(path: Path) -> list[tuple[str, str]]:
    """Return the class name and the folder of each module, in order."""
    modules = _read_list(path)
    found = []
    for module in modules:
        kind, place = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str) or ".." in Path(place).parts or place[:1] == "/":
            raise BuildError(f"{path}: expected modules with a type and a path, got {module!r:.80}; correct it")
        found.append((kind.rpartition(".")[2], place))
    return found


def _read_list(path: Path) -> list[Any]:
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise BuildError(f"{path}: not a JSON file: {error!s:.200}; download it again") from None
    if not isinstance(modules, list):
        raise BuildError(f"{path}: expected a list of modules, got {modules!r:.80}; correct it")
    return modules


def _read_pooling(path: Path) -> str:
    """Return the pooler kind of a Pooling module. Raises BuildError for several modes, or one without a kind."""
    if not path.is_file():
        raise BuildError(f"{path}: not found, but modules.json names it; download it, or the whole folder")
    values = read_config(path)
    mode = values.get("pooling_mode")
    modes = [key for key, value in values.items() if key.startswith("pooling_mode_") and value]
    if mode is not None:
        modes = [str(item) for item in (mode if isinstance(mode, list) else [mode])]
    if len(modes) != 1 or modes[0] not in _POOLERS:
        shown = ", ".join(modes) or "no mode"
        raise BuildError(f"{path}: pooling by {shown:.120} is not supported, only mean, max or cls alone; {_WAY_OUT}")
    return _POOLERS[modes[0]]
