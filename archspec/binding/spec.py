"""A checked spec, ready to be bound to the sizes of a checkpoint."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from archc.archspec.checking.checked_nodes import Group, names_read
from archc.archspec.checking.checker import LAYER_NAMES, Checker
from archc.archspec.checking.expressions import Expression, parse
from archc.archspec.config.names import GIVEN, Names, check_names
from archc.archspec.config.reader import canonical_config, is_neutral
from archc.archspec.errors import ConfigError, Problem, SpecError, clipped, did_you_mean, hints, listed
from archc.archspec.source.expand_encoder import without_echoes, write_out
from archc.archspec.source.header import SECTIONS
from archc.archspec.source.merging import merge_sections, merge_weights
from archc.archspec.source.overrides import Overrides, read_overrides
from archc.archspec.source.raw_spec import RawSpec
from archc.archspec.source.yaml_tree import Items, Mark, Node, Scalar, Table, dump, join, to_python
from archc.archspec.vocabulary import PER_LAYER, Model, differs_by_layer
from archc.archspec.weights.table import WeightTable, check_weights

if TYPE_CHECKING:
    from archc.archspec.binding.binding import BoundSpec

_VARIANT_EXPECTED = "a mapping with `when:` and what it changes is expected"


@dataclass(frozen=True)
class Variant:
    """Sections and weights that replace others where a condition on the config holds."""

    when: Expression
    sections: Table
    weights: Table | None
    mark: Mark
    path: str

    @property
    def per_layer(self) -> bool:
        """Whether the condition is one on the layer, so that the variant holds in some and not in others."""
        return bool(self.when.names & set(LAYER_NAMES))


@dataclass(frozen=True)
class Assembled:
    """The spec's sections and weight table with some of its variants laid over them."""

    model: Group | None
    weights: WeightTable
    problems: tuple[Problem, ...]

    @property
    def names(self) -> frozenset[str]:
        """Every name that it reads."""
        return (names_read(self.model) if self.model is not None else frozenset()) | self.weights.names


@dataclass(frozen=True)
class Spec:
    """A spec whose keys, words and expressions are all known to be right; its sizes are still names."""

    raw: RawSpec
    names: Names
    variants: tuple[Variant, ...]
    overrides: Overrides
    override_texts: tuple[str, ...] = ()
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    read: frozenset[str] = frozenset()  # declared names that some part of the spec reads

    @property
    def file(self) -> str:
        """Where the spec was read from."""
        return self.raw.file

    @property
    def family(self) -> str:
        """The spec's own name."""
        return self.raw.header.family

    @property
    def model_types(self) -> tuple[str, ...]:
        """The values of config.json's `model_type` by which the spec is found."""
        return self.raw.header.model_types

    @property
    def description(self) -> str:
        """What the spec says that it describes."""
        return self.raw.header.description

    def bind(
        self, config: Mapping[str, Any] | None = None, size: str | None = None, source: str = "config.json"
    ) -> BoundSpec:
        """The spec with every size known, from a config.json's content or from one of its `sizes`.

        Raises ConfigError for a config that lacks something or says something unknown, SpecError for values that make
        no sense together.
        """
        from archc.archspec.binding.binding import bind

        return bind(self, config, size, source)

    def assemble(self, active: Iterable[int] = (), overridden: bool = True) -> Assembled:
        """The spec with these variants, in their order, and then the overrides."""
        problems: list[Problem] = []
        sections, weights = self.raw.sections, self.raw.weights
        for index in active:
            variant = self.variants[index]
            sections = merge_sections(sections, variant.sections)
            if variant.weights is not None:
                weights = merge_weights(weights, variant.weights, problems)
        if overridden:
            sections = merge_sections(sections, self.overrides.sections)
        model = Checker(self.names.all, problems).group(write_out(sections), Model, "")
        table = check_weights(weights, self.names.all, problems)
        return Assembled(model, table, tuple(without_echoes(problems)))

    def reads_config(self, key: str) -> bool:
        """Whether a key of config.json has a meaning for the spec, or is known to have none."""
        if key in GIVEN or any(fnmatch.fnmatchcase(key, str(pattern.value)) for pattern in self.raw.ignore_config):
            return True
        return any(key in entry.keys for name, entry in self.names.config.items() if name in self.read)

    def reads_within(self, key: str) -> bool:
        """Whether the spec reads keys of the mapping under a key of config.json."""
        return any(other.startswith(f"{key}.") for entry in self.names.config.values() for other in entry.keys)

    @cached_property
    def text(self) -> str:
        """The spec as YAML that stands on its own: `extends` resolved and overrides applied."""
        sections, variants = self.raw.sections, list(self.raw.variants)
        needed = self.read
        if variants and self.overrides.sections.entries:
            # A variant must not undo an override, so the override becomes the last variant.
            changed = self.overrides.sections
            always = Table({"when": Scalar(True, changed.mark), **changed.entries}, {}, changed.mark)
            variants.append(always)
        elif self.overrides.sections.entries:
            sections = merge_sections(sections, self.overrides.sections)
            needed = self.names.needed(self.assemble().names)
        tree = self.raw.tree
        mark = tree.mark
        config = {name: node for name, node in self.raw.config.entries.items() if name in needed}
        derive = {name: node for name, node in self.raw.derive.entries.items() if name in needed}
        ignored = [*self.raw.ignore_config]
        ignored += [Scalar(name, mark) for name in self.raw.config.entries if name in self.read - needed]
        parts: dict[str, Node] = {
            key: tree.entries[key] for key in ("family", "description", "source", "match") if key in tree.entries
        }
        parts["config"] = Table(config, {}, mark)
        parts["derive"] = Table(derive, {}, mark)
        parts["ignore_config"] = Items(tuple(ignored), mark)
        parts["sizes"] = self.raw.sizes if self.raw.sizes is not None else Table({}, {}, mark)
        parts |= {key: sections.entries[key] for key in SECTIONS if key in sections.entries}
        parts["variants"] = Items(tuple(variants), mark)
        parts["weights"] = self.raw.weights
        return dump(Table({key: node for key, node in parts.items() if not _is_empty(node)}, {}, mark))


def build_spec(raw: RawSpec, override_texts: Sequence[str], problems: list[Problem]) -> Spec:
    """The checked spec. Raises SpecError with `problems` and every other fault that is found."""
    names = check_names(raw.config, raw.derive, problems)
    variants = tuple(
        variant
        for index, node in enumerate(raw.variants)
        if (variant := _variant(node, f"variants[{index}]", names, problems)) is not None
    )
    overrides = read_overrides(override_texts, tuple(names.config), problems)
    spec = Spec(raw, names, variants, overrides, tuple(override_texts))
    ways = [spec.assemble((), False), *(spec.assemble([index], False) for index in range(len(variants)))]
    read = frozenset().union(*(way.names for way in ways), *(variant.when.names for variant in variants))
    # A list of allowed values is a reading too: it refuses the others.
    read |= {name for name, entry in names.config.items() if entry.allowed}
    if overrides.sections.entries:
        ways += [spec.assemble(), *(spec.assemble([index]) for index in range(len(variants)))]
    problems += [problem for way in ways for problem in way.problems]
    spec = Spec(raw, names, variants, overrides, tuple(override_texts), {}, names.needed(read))
    if not problems:
        problems += _unread_names(spec)
    sizes = _check_sizes(spec, problems)
    if problems:
        raise SpecError(problems)
    return Spec(raw, names, variants, overrides, tuple(override_texts), sizes, spec.read)


def _variant(node: Node, path: str, names: Names, problems: list[Problem]) -> Variant | None:
    when = node.get("when") if isinstance(node, Table) else None
    if not isinstance(node, Table) or when is None:
        problems.append(node.mark.problem(path, _VARIANT_EXPECTED))
        return None
    allowed = ("when", "weights", *SECTIONS)
    for key, mark in node.keys.items():
        if key not in allowed:
            hint = hints(did_you_mean(key, allowed), f"allowed: {listed(allowed)}")
            problems.append(mark.problem(join(path, key), f"unknown key '{clipped(key)}'", hint))
    if not isinstance(when, Scalar) or not isinstance(when.value, str | bool) or when.value is False:
        problems.append(when.mark.problem(join(path, "when"), "an expression that can be true is expected"))
        return None
    text = "true" if when.value is True else str(when.value)
    expression = Checker(names.all, problems).expression(text, when.mark, join(path, "when"), per_layer=True)
    sections = {key: value for key, value in node.entries.items() if key in SECTIONS}
    weights = node.get("weights")
    if not sections and weights is None:
        problems.append(node.mark.problem(path, "a variant that changes nothing"))
    if weights is not None and not isinstance(weights, Table):
        problems.append(weights.mark.problem(join(path, "weights"), "a mapping is expected"))
        weights = None
    keys = {key: node.keys.get(key, node.mark) for key in sections}
    variant = Variant(expression or parse("true"), Table(sections, keys, node.mark), weights, when.mark, path)
    if variant.per_layer:
        problems += _global_parts(variant)
    return variant


def _global_parts(variant: Variant) -> Iterator[Problem]:
    """What a variant that holds in some layers changes though it is the same for all of them."""
    hint = f"a condition on `layer` may change {listed(PER_LAYER)}"
    for path, mark in _changed(variant.sections, ""):
        yield mark.problem(join(variant.path, path), f"'{path}' cannot differ by layer", hint)
    if variant.weights is not None:
        yield variant.mark.problem(join(variant.path, "weights"), "the weight table cannot differ by layer", hint)


def _changed(sections: Table, within: str) -> Iterator[tuple[str, Mark]]:
    """The paths in a variant's sections that are the same for all layers, with their marks."""
    for key, node in sections.entries.items():
        path, mark = join(within, key), sections.keys.get(key, sections.mark)
        if differs_by_layer(path):
            continue
        if not isinstance(node, Table) or not node.entries:
            yield path, mark
        elif path in ("layer", "encoder", "encoder.layer"):
            yield from _changed(node, path)
        else:
            yield from ((join(path, name), mark) for name in node.entries)


def _unread_names(spec: Spec) -> list[Problem]:
    """Names that the file itself declares and nothing reads. Inherited ones may have lost their reader."""
    problems = []
    for section in ("config", "derive"):
        own = spec.raw.tree.get(section)
        for name, mark in own.keys.items() if isinstance(own, Table) else ():
            path = join(section, name)
            if name not in spec.read:
                hint = "use it in a section" + (", or list it under `ignore_config:`" if section == "config" else "")
                problems.append(mark.problem(path, f"nothing reads '{name}'", hint))
    for pattern in _own_patterns(spec.raw):
        hit = next((name for name in spec.names.config if fnmatch.fnmatchcase(name, str(pattern.value))), None)
        if hit in spec.read:
            message = f"'{clipped(str(pattern.value))}' would ignore '{hit}', which the spec reads"
            problems.append(pattern.mark.problem("ignore_config", message))
    return problems


def _own_patterns(raw: RawSpec) -> tuple[Scalar, ...]:
    own = raw.tree.get("ignore_config")
    return tuple(item for item in own.items if isinstance(item, Scalar)) if isinstance(own, Items) else ()


def _check_sizes(spec: Spec, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    node = spec.raw.sizes
    if node is None:
        return {}
    if not isinstance(node, Table):
        problems.append(node.mark.problem("sizes", "a mapping from names of sizes to config values is expected"))
        return {}
    sizes: dict[str, dict[str, Any]] = {}
    for name, values in node.entries.items():
        path = join("sizes", name)
        if not isinstance(values, Table):
            problems.append(values.mark.problem(path, "a mapping of config names is expected"))
            continue
        try:
            sizes[name] = canonical_config(to_python(values), "")
        except ConfigError as error:
            problems += [values.mark.problem(join(path, p.path), p.message, p.hint) for p in error.problems]
            continue
        for key, value in sizes[name].items():
            if not spec.reads_config(key) and not (key not in values.entries and is_neutral(key, value)):
                hint = hints(did_you_mean(key, spec.read), "sizes set the names under `config:`")
                mark = values.keys.get(key, values.mark)
                problems.append(mark.problem(join(path, key), f"nothing reads '{clipped(key)}'", hint))
    return sizes


def _is_empty(node: Node) -> bool:
    return (isinstance(node, Table) and not node.entries) or (isinstance(node, Items) and not node.items)
