"""The checked spec, and its assembly with the variants that hold.

Why a spec is assembled and checked once per variant: the conditions of variants read sizes, which are unknown until the
spec is bound to a config, so that no single tree stands for the spec. `build_spec` therefore assembles and checks the
spec without variants and with each variant alone; that finds the problems of every variant without a config, and the
names that any of them reads. Binding evaluates the conditions and assembles the variants that hold together, once for
the whole model and once for each distinct set of per-layer variants, because only this combination has the values that
are bound. Assembly is a pure function of milliseconds, so nothing is cached. A variant that changes a section of an
earlier one, and is not valid without it, is checked together with this one, its base.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from archc.archspec.assembly.standalone import standalone_text
from archc.archspec.assembly.variants import Variant
from archc.archspec.checking.checked_nodes import CheckedSection, names_in
from archc.archspec.config.names import BUILTIN_NAMES, Names
from archc.archspec.errors import Problem
from archc.archspec.source.encoder_defaults import complete_sections, drop_inherited_problems
from archc.archspec.source.inheritance import RawSpec
from archc.archspec.source.merging import merge_sections, merge_weights
from archc.archspec.source.overrides import Overrides
from archc.archspec.vocabulary import Model
from archc.archspec.weights.table import WeightTable, check_weights


@dataclass(frozen=True)
class Assembled:
    """The checked sections and weight table of a spec with some of its variants merged in."""

    model: CheckedSection | None  # None if there are problems
    weights: WeightTable
    problems: tuple[Problem, ...]

    @property
    def names(self) -> frozenset[str]:
        """Return every name that the sections and the weight table read."""
        return (names_in(self.model) if self.model is not None else frozenset()) | self.weights.names


@dataclass(frozen=True)
class CheckedSpec:
    """A spec whose keys, values and expressions are valid, and whose sizes are still names."""

    raw: RawSpec
    names: Names
    variants: tuple[Variant, ...]
    overrides: Overrides
    override_texts: tuple[str, ...] = ()
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    read: frozenset[str] = frozenset()  # declared names that some part of the spec reads
    bases: Mapping[int, int] = field(default_factory=dict)  # of variants that are not valid alone: an earlier variant

    @property
    def file(self) -> str:
        """Return the file of the spec."""
        return self.raw.file

    @property
    def family(self) -> str:
        """Return the name of the spec."""
        return self.raw.header.family

    @property
    def model_types(self) -> tuple[str, ...]:
        """Return the values of config.json's `model_type` that the spec matches."""
        return self.raw.header.model_types

    @property
    def description(self) -> str:
        """Return the spec's one-line description."""
        return self.raw.header.description

    def assemble(self, active: Iterable[int] = (), overridden: bool = True) -> Assembled:
        """Merge the variants with these indices, in order, then the overrides, and check the result."""
        problems: list[Problem] = []
        sections, weights = self.raw.sections, self.raw.weights
        for index in active:
            variant = self.variants[index]
            sections = merge_sections(sections, variant.sections)
            if variant.weights is not None:
                weights = merge_weights(weights, variant.weights, problems)
        if overridden:
            sections = merge_sections(sections, self.overrides.sections)
        checker = self.names.checker(problems)
        model = checker.section(complete_sections(sections), Model, "")
        table = check_weights(weights, checker)
        return Assembled(model, table, tuple(drop_inherited_problems(problems)))

    def with_base(self, index: int) -> list[int]:
        """Return the index of a variant, after that of the variant without which it is not valid."""
        return [self.bases[index], index] if index in self.bases else [index]

    def reads_config(self, key: str) -> bool:
        """Return whether the spec reads a key of config.json or ignores it by `ignore_config`."""
        if key in BUILTIN_NAMES or any(
            fnmatch.fnmatchcase(key, str(pattern.value)) for pattern in self.raw.ignore_config
        ):
            return True
        return any(key in entry.keys for name, entry in self.names.config.items() if name in self.read)

    def reads_inside(self, key: str) -> bool:
        """Return whether the spec reads keys inside the mapping under a key of config.json."""
        return any(other.startswith(f"{key}.") for entry in self.names.config.values() for other in entry.keys)

    @cached_property
    def text(self) -> str:
        """Return the spec as self-contained YAML: `extends` resolved, overrides applied, unused names removed."""
        has_overrides = bool(self.overrides.sections.entries)
        names = self.read
        if has_overrides and not self.raw.variants:
            names = self.names.closure(self.assemble().names)
        return standalone_text(self.raw, self.overrides, names, self.read)
