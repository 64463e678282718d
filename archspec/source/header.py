"""The header of a spec: family name, description, sources, and the checkpoints that it matches."""

from __future__ import annotations

import re
from dataclasses import dataclass

from archc.archspec.errors import Problem, clip, did_you_mean, format_list, format_value, join_hints
from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode, empty_mapping, join_path

MATCH_KEYS = ("model_type", "architectures", "where", "tensors")

_FAMILY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Header:
    """The keys that describe the file itself; none of them is inherited."""

    family: str = ""
    description: str = ""
    source: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    where: ScalarNode | None = None  # a condition on config.json, as text
    tensors: tuple[str, ...] = ()  # of a checkpoint without config.json
    sizes: tuple[str, ...] = ()


def check_header(tree: MappingNode, problems: list[Problem]) -> Header:
    """Return the header of a spec; append its problems to `problems`."""
    family = _text(tree.get("family"), "family", problems)
    if tree.get("family") is None:
        problems.append(tree.mark.problem("", "missing key 'family'", "add `family:` with the name of the spec"))
    elif family and not _FAMILY.fullmatch(family):
        hint = "use lowercase letters, digits and dashes"
        mark = tree.entries["family"].mark
        problems.append(mark.problem("family", f"{format_value(family)} is not a valid spec name", hint))
    match = tree.get("match")
    if match is not None and not isinstance(match, MappingNode):
        problems.append(match.mark.problem("match", f"expected a mapping with the keys {format_list(MATCH_KEYS)}"))
    match_section = match if isinstance(match, MappingNode) else empty_mapping(tree.mark)
    for key, mark in match_section.key_marks.items():
        if key not in MATCH_KEYS:
            hint = join_hints(did_you_mean(key, MATCH_KEYS), f"allowed: {format_list(MATCH_KEYS)}")
            problems.append(mark.problem(join_path("match", key), f"unknown key '{clip(key)}'", hint))
    if isinstance(match, MappingNode) and "model_type" not in match.entries:
        hint = "detection needs the `model_type` of config.json"
        problems.append(match.mark.problem("match", "missing key 'model_type'", hint))
    return Header(
        family,
        _text(tree.get("description"), "description", problems),
        check_texts(tree.get("source"), "source", problems),
        check_texts(match_section.get("model_type"), "match.model_type", problems),
        check_texts(match_section.get("architectures"), "match.architectures", problems),
        _condition(match_section.get("where"), problems),
        check_texts(match_section.get("tensors"), "match.tensors", problems),
        tuple(sizes.entries) if isinstance(sizes := tree.get("sizes"), MappingNode) else (),
    )


def check_texts(node: Node | None, path: str, problems: list[Problem]) -> tuple[str, ...]:
    """Return the strings of a node that is a string or a list of strings; append a problem for anything else."""
    nodes = () if node is None else node.items if isinstance(node, ListNode) else (node,)
    texts = tuple(
        item.value for item in nodes if isinstance(item, ScalarNode) and isinstance(item.value, str) and item.value
    )
    if node is not None and len(texts) < max(len(nodes), 1):
        problems.append(node.mark.problem(path, "expected text or a list of texts"))
    return texts


def _text(node: Node | None, path: str, problems: list[Problem]) -> str:
    if node is None:
        return ""
    if isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value:
        return node.value
    hint = "write it in quotes" if isinstance(node, ScalarNode) and node.value is not None else ""
    problems.append(node.mark.problem(path, "expected text", hint))
    return ""


def _condition(node: Node | None, problems: list[Problem]) -> ScalarNode | None:
    if node is None or (isinstance(node, ScalarNode) and isinstance(node.value, str) and node.value):
        return node
    hint = "for example `where: num_layers == 28`"
    problems.append(node.mark.problem("match.where", "expected a condition on the keys of config.json", hint))
    return None
