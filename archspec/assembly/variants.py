"""The `variants:` section: sections and weights that replace others if a condition on the config holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archc.archspec.checking.checker import LAYER_NAMES
from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.config.names import Names
from archc.archspec.errors import Problem, SpecError, clip, did_you_mean, format_list, join_hints
from archc.archspec.source.nodes import MappingNode, Mark, Node, ScalarNode, join_path
from archc.archspec.source.top_keys import SECTIONS
from archc.archspec.vocabulary import PER_LAYER, differs_by_layer

MAX_VARIANTS = 64  # each may be checked with each one before it

_KEYS = ("when", "weights", *SECTIONS)


@dataclass(frozen=True)
class Variant:
    """One variant: its condition, and the sections and weights that it changes."""

    when: Expression
    sections: MappingNode
    weights: MappingNode | None
    mark: Mark
    path: str

    @property
    def holds_always(self) -> bool:
        """Return whether the condition is the constant `true`."""
        return self.when.text == "true"

    @property
    def per_layer(self) -> bool:
        """Return whether the condition reads `layer` or `layers`, so that it may hold in some layers only."""
        return bool(self.when.names & set(LAYER_NAMES))


def check_variants(nodes: Sequence[Node], names: Names, problems: list[Problem]) -> tuple[Variant, ...]:
    """Return the valid variants; append problems to `problems`. Raises SpecError if there are too many."""
    if len(nodes) > MAX_VARIANTS:
        message, hint = f"more than {MAX_VARIANTS} variants", "merge some of them, by names of `derive:`"
        raise SpecError([*problems, nodes[MAX_VARIANTS].mark.problem("variants", message, hint)])
    variants = (_variant(node, f"variants[{index}]", names, problems) for index, node in enumerate(nodes))
    return tuple(variant for variant in variants if variant is not None)


def _variant(node: Node, path: str, names: Names, problems: list[Problem]) -> Variant | None:
    when = node.get("when") if isinstance(node, MappingNode) else None
    if not isinstance(node, MappingNode) or when is None:
        problems.append(node.mark.problem(path, "expected a mapping with `when:` and the sections that it changes"))
        return None
    for key, mark in node.key_marks.items():
        if key not in _KEYS:
            hint = join_hints(did_you_mean(key, _KEYS), f"allowed: {format_list(_KEYS)}")
            problems.append(mark.problem(join_path(path, key), f"unknown key '{clip(key)}'", hint))
    when_path = join_path(path, "when")
    if not isinstance(when, ScalarNode) or not isinstance(when.value, str | bool) or when.value is False:
        problems.append(when.mark.problem(when_path, "expected a condition that can be true"))
        return None
    text = "true" if when.value is True else str(when.value)
    condition = names.checker(problems).expression(text, when.mark, when_path, per_layer=True)
    sections = {key: value for key, value in node.entries.items() if key in SECTIONS}
    weights = node.get("weights")
    if not sections and weights is None:
        problems.append(node.mark.problem(path, "the variant changes nothing", "add a section, or remove it"))
    if weights is not None and not isinstance(weights, MappingNode):
        problems.append(weights.mark.problem(join_path(path, "weights"), "expected a mapping"))
        weights = None
    marks = {key: node.key_marks.get(key, node.mark) for key in sections}
    variant = Variant(condition or parse("true"), MappingNode(sections, marks, node.mark), weights, when.mark, path)
    if variant.per_layer:
        problems += _shared_parts(variant)
    return variant


def _shared_parts(variant: Variant) -> Iterator[Problem]:
    """Yield a problem for each part of a per-layer variant that is the same for all layers."""
    hint = f"a condition on `layer` may change {format_list(PER_LAYER)}"
    for path, mark in _shared_paths(variant.sections, ""):
        yield mark.problem(join_path(variant.path, path), f"'{path}' cannot differ by layer", hint)
    if variant.weights is not None:
        path = join_path(variant.path, "weights")
        yield variant.mark.problem(path, "the weight table cannot differ by layer", hint)


def _shared_paths(sections: MappingNode, parent: str) -> Iterator[tuple[str, Mark]]:
    """Yield path and position of each part of a variant's sections that cannot differ by layer."""
    for key, node in sections.entries.items():
        path, mark = join_path(parent, key), sections.key_marks.get(key, sections.mark)
        if differs_by_layer(path):
            continue
        if not isinstance(node, MappingNode) or not node.entries:
            yield path, mark
        elif path in ("layer", "encoder", "encoder.layer"):
            yield from _shared_paths(node, path)
        else:
            yield from ((join_path(path, name), mark) for name in node.entries)
