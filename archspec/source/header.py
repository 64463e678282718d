"""What a spec says of itself: its name, where its facts come from, and which checkpoints it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from archc.archspec.checking.word_schema import fields_of
from archc.archspec.errors import Problem, clipped, did_you_mean, hints, listed, shown
from archc.archspec.source.yaml_tree import Items, Node, Scalar, Table, join
from archc.archspec.vocabulary import Model

META_KEYS = (
    "family", "description", "source", "extends", "match", "config", "derive", "ignore_config", "sizes", "variants",
    "weights",
)  # fmt: skip
SECTIONS = tuple(fields_of(Model))
TOP_KEYS = (*META_KEYS, *SECTIONS)
MATCH_KEYS = ("model_type", "architectures")

_FAMILY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Header:
    """The keys of a spec that describe the file itself; none of them is inherited."""

    family: str = ""
    description: str = ""
    source: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()


def check_header(tree: Table, problems: list[Problem]) -> Header:
    """The header of a spec; faults, and keys that no spec has, go to `problems`."""
    for key, mark in tree.keys.items():
        if key not in TOP_KEYS:
            choices = f"sections: {listed(SECTIONS)}; about the file: {listed(META_KEYS)}"
            hint = did_you_mean(key, TOP_KEYS) or choices
            problems.append(mark.problem(clipped(key), f"unknown key '{clipped(key)}'", hint))
    family = _text(tree.get("family"), "family", problems)
    if tree.get("family") is None:
        problems.append(tree.mark.problem("", "the key 'family' is missing", "it is the name of the spec"))
    elif family and not _FAMILY.fullmatch(family):
        hint = "small letters, digits and dashes"
        problems.append(
            tree.entries["family"].mark.problem("family", f"{shown(family)} is not a name for a spec", hint)
        )
    match = tree.get("match")
    if match is not None and not isinstance(match, Table):
        problems.append(match.mark.problem("match", f"a mapping with the keys {listed(MATCH_KEYS)} is expected"))
    matched = match if isinstance(match, Table) else Table({}, {}, tree.mark)
    for key, mark in matched.keys.items():
        if key not in MATCH_KEYS:
            hint = hints(did_you_mean(key, MATCH_KEYS), f"allowed: {listed(MATCH_KEYS)}")
            problems.append(mark.problem(join("match", key), f"unknown key '{clipped(key)}'", hint))
    if match is not None and isinstance(match, Table) and "model_type" not in match.entries:
        problems.append(match.mark.problem("match", "the key 'model_type' is missing", "detection starts from it"))
    return Header(
        family,
        _text(tree.get("description"), "description", problems),
        texts(tree.get("source"), "source", problems),
        texts(matched.get("model_type"), "match.model_type", problems),
        texts(matched.get("architectures"), "match.architectures", problems),
    )


def texts(node: Node | None, path: str, problems: list[Problem]) -> tuple[str, ...]:
    """A text, or a list of texts; anything else goes to `problems`."""
    nodes = () if node is None else node.items if isinstance(node, Items) else (node,)
    found = tuple(
        item.value for item in nodes if isinstance(item, Scalar) and isinstance(item.value, str) and item.value
    )
    if node is not None and len(found) < max(len(nodes), 1):
        problems.append(node.mark.problem(path, "text, or a list of texts, is expected"))
    return found


def _text(node: Node | None, path: str, problems: list[Problem]) -> str:
    if node is None:
        return ""
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
        return node.value
    hint = "write it in quotes" if isinstance(node, Scalar) and node.value is not None else ""
    problems.append(node.mark.problem(path, "text is expected", hint))
    return ""
