"""Specs as plain trees, with the defaults of the vocabulary filled in, so that two of them can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from archc.archspec import BoundSpec, Spec
from archc.archspec.checking.checked_nodes import CheckedNode, CheckedSection, Computed, Constant
from archc.archspec.checking.expressions import Expression
from archc.archspec.source.nodes import to_python
from archc.archspec.vocabulary.schema import keys_of, kind_of
from archc.archspec.weights.entries import Entry

_BOUND = ("topology", "context", "embedding", "final_norm", "head", "pooler", "prefix")


@dataclass(frozen=True)
class Trees:
    """The parts of a spec; an expression is its text."""

    name: str
    sections: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    help: Mapping[str, str] = field(default_factory=dict)  # descriptions of the vocabulary by path


def spec_trees(spec: Spec, name: str) -> Trees:
    """Return the trees of a spec whose sizes are names of the config."""
    assembled = spec.assemble()
    assert assembled.model is not None  # load_spec has checked the sections
    descriptions: dict[str, str] = {}
    sections = _section_tree(assembled.model, "", descriptions)
    if spec.raw.variants:
        sections["variants"] = [to_python(node) for node in spec.raw.variants]
    config: dict[str, Any] = {}
    for key, entry in spec.names.config.items():
        if key in spec.read:
            default, absent = (
                value.text if isinstance(value, Expression) else value for value in (entry.default, entry.absent)
            )
            own = {"default": default, "keys": entry.keys[1:], "allowed": entry.allowed, "absent": absent}
            stated = {name: value for name, value in own.items() if value not in (None, ())}
            config[key] = {"required": True, **stated} if entry.required else stated or {"default": None}
    for key, derived in spec.names.derived.items():
        if key in spec.read:
            config[key] = {"derive": derived.expression.text}
    weights = {key: _entry_tree(entry) for key, entry in assembled.weights.entries.items()}
    return Trees(name, sections, config, weights, descriptions)


def bound_trees(bound: BoundSpec, name: str) -> Trees:
    """Return the trees of a spec at the sizes of a checkpoint; runs of equal layers are one tree."""
    sections: dict[str, Any] = {part: _plain(getattr(bound, part)) for part in _BOUND}
    sections |= _layer_trees(bound, "layers")
    if bound.encoder is not None:
        sections["encoder"] = {
            part: _plain(getattr(bound.encoder, part)) for part in ("context", "embedding", "final_norm")
        }
        sections |= _layer_trees(bound.encoder, "encoder.layers")
    weights = {key: list(entry.names) for key, entry in bound.weights.entries.items()}
    return Trees(name, sections, {}, weights)


def renamed(trees: Trees, names: Mapping[str, str]) -> Trees:
    """Return the trees with config names in another spelling."""
    if not names:
        return trees
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b(?!['\"])")

    def rename(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda match: names[match[1]], value)
        if isinstance(value, Mapping):
            return {key: rename(item) for key, item in value.items()}
        return [rename(item) for item in value] if isinstance(value, list) else value

    config = {names.get(key, key): rename(value) for key, value in trees.config.items()}
    return Trees(trees.name, rename(trees.sections), config, trees.weights, trees.help)


def _layer_trees(bound: BoundSpec, path: str) -> dict[str, Any]:
    return {f"{path}.{index}": _plain(layer) for index, layer in enumerate(bound.layers)}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _section_tree(node: CheckedSection, path: str, descriptions: dict[str, str]) -> dict[str, Any]:
    kind = kind_of(node.section)
    tree: dict[str, Any] = {} if kind is None else {"kind": kind}
    for key in keys_of(node.section):
        info = node.section.model_fields[key]
        inner = f"{path}.{key}" if path else key
        descriptions[inner] = (info.description or "").partition(". ")[0].rstrip(".")
        child = node.fields.get(key)
        if child is not None:
            tree[key] = _node_tree(child, inner, descriptions)
            continue
        default = info.get_default(call_default_factory=True, validated_data={})
        if default is not PydanticUndefined:
            tree[key] = _plain(default)
    return tree


def _node_tree(node: CheckedNode, path: str, descriptions: dict[str, str]) -> Any:
    if isinstance(node, CheckedSection):
        return _section_tree(node, path, descriptions)
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Computed):
        return node.expression.text
    return [_node_tree(item, path, descriptions) for item in node.items]


def _entry_tree(entry: Entry) -> Any:
    verbs = [{verb.section.__name__.lower(): _section_tree(verb, "", {})} for verb in entry.verbs]
    own = [*entry.names, *verbs]
    others = [_entry_tree(other) for other in entry.others]
    return json.loads(json.dumps([*own, *others], default=str))
