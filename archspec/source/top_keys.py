"""The top-level keys of a spec: the keys about the file itself, and the sections of the vocabulary."""

from __future__ import annotations

from archc.archspec.errors import Problem, clip, did_you_mean, format_list
from archc.archspec.source.nodes import MappingNode
from archc.archspec.vocabulary import Model
from archc.archspec.vocabulary.schema import keys_of

META_KEYS = (
    "family",
    "description",
    "source",
    "extends",
    "match",
    "config",
    "fixed_config",
    "derive",
    "ignore_config",
    "sizes",
    "variants",
    "weights",
)
SECTIONS = tuple(keys_of(Model))
TOP_KEYS = (*META_KEYS, *SECTIONS)


def check_top_keys(tree: MappingNode, problems: list[Problem]) -> None:
    """Append a problem for each unknown top-level key."""
    for key, mark in tree.key_marks.items():
        if key not in TOP_KEYS:
            allowed = f"sections: {format_list(SECTIONS)}; other keys: {format_list(META_KEYS)}"
            hint = did_you_mean(key, TOP_KEYS) or allowed
            problems.append(mark.problem(clip(key), f"unknown key '{clip(key)}'", hint))
