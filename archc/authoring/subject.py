"""The config that a draft is written for, and its checkpoint if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archc.archspec import ConfigError, read_config
from archc.archspec.config.rope_settings import canonical_config
from archc.archspec.config.text_part import text_part
from archc.authoring.patterns import collapse
from archc.authoring.stored_names import ending
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import has_weights, open_weights, read_checkpoint_config
from archc.compiler.weights.checkpoint.folder import is_checkpoint, open_source

_ROPE_KEYS = ("rope_scaling", "rope_parameters")


@dataclass(frozen=True)
class Subject:
    """A config.json, in canonical spelling, and the folder with its weights."""

    place: str
    config: Mapping[str, Any]  # as it is stored
    keys: Mapping[str, Any]  # those of the text model, in canonical spelling
    folder: Path | None  # with weights
    left_out: tuple[str, ...] = ()  # keys whose rotary settings are not supported
    faults: tuple[str, ...] = ()  # the reasons

    @cached_property
    def endings(self) -> frozenset[str]:
        """Return the endings of the names of the stored tensors; none without weights."""
        if self.folder is None:
            return frozenset()
        return frozenset(ending(collapse(name)[0]) for name in open_weights(self.folder).names())

    @property
    def model_type(self) -> str:
        """Return the model type of the text model, or an empty text."""
        value = self.keys.get("model_type")
        return value if isinstance(value, str) else ""

    @property
    def architectures(self) -> tuple[str, ...]:
        """Return the names of the classes."""
        values = self.keys.get("architectures") or self.config.get("architectures")
        return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def read_subject(where: str) -> Subject:
    """Return the subject of a config file, a checkpoint folder or a hub id, of which only the config is fetched.

    Raises ConfigError for a damaged config, and BuildError if there is none.
    """
    path = Path(where)
    if path.is_file() and not is_checkpoint(path):
        return _subject(where, read_config(path), None)
    source = open_source(where)
    config = read_checkpoint_config(source.folder)
    if config is None:
        raise BuildError(f"{where}: no config.json; give the checkpoint's config.json or its folder")
    return _subject(where, config, source.folder if has_weights(source.folder) else None)


def _subject(place: str, config: dict[str, Any], folder: Path | None) -> Subject:
    keys = text_part(config)
    try:
        return Subject(place, config, canonical_config(keys, place), folder)
    except ConfigError as error:
        left_out = tuple(key for key in _ROPE_KEYS if key in keys)
        rest = {key: value for key, value in keys.items() if key not in left_out}
        faults = tuple(str(problem) for problem in error.problems)
        return Subject(place, config, canonical_config(rest, place), folder, left_out, faults)
