"""The spec that users load and bind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archc.archspec.assembly.checked_spec import Assembled, CheckedSpec
from archc.archspec.assembly.unused import check_sizes, unused_names
from archc.archspec.assembly.variants import check_variants
from archc.archspec.binding.binder import bind
from archc.archspec.binding.bound_spec import BoundSpec
from archc.archspec.checking.match_condition import match_condition
from archc.archspec.config.names import check_names
from archc.archspec.errors import Problem, SpecError
from archc.archspec.source.inheritance import RawSpec
from archc.archspec.source.overrides import read_overrides


@dataclass(frozen=True)
class Spec(CheckedSpec):
    """A checked spec that can be bound to the sizes of a checkpoint."""

    def bind(
        self,
        config: Mapping[str, Any] | None = None,
        size: str | None = None,
        source: str = "config.json",
        ignore_config: Sequence[str] = (),
    ) -> BoundSpec:
        """Return the spec with all sizes known, from the content of a config.json or from one of its `sizes`.

        Keys of the config that `ignore_config` names, patterns with `*` among them, count as absent.

        Raises ConfigError for a config with missing or unknown keys, SpecError for values that contradict each other.
        """
        return bind(self, config, size, source, ignore_config)


def build_spec(raw: RawSpec, override_texts: Sequence[str], problems: list[Problem]) -> Spec:
    """Return the checked spec. Raises SpecError with `problems` and every other problem of the spec."""
    match_condition(raw.header, problems)
    names = check_names(raw.config, raw.derive, problems)
    variants = check_variants(raw.variants, names, problems)
    overrides = read_overrides(override_texts, tuple(names.config), problems)
    spec = Spec(raw, names, variants, overrides, tuple(override_texts))
    always = [index for index, variant in enumerate(variants) if variant.holds_always]
    others = [index for index in range(len(variants)) if index not in always]
    assembled = [spec.assemble((), overridden=False)]
    problems += assembled[0].problems
    bases: dict[int, int] = {}
    for index in others:
        base, each = _assemble_one(spec, index, others, problems)
        assembled.append(each)
        problems += each.problems
        bases |= {index: base} if base is not None else {}
    spec = replace(spec, bases=bases)
    combinations = [[], *map(spec.with_base, others)]
    combinations = [sorted([*active, *always]) for active in combinations]
    if always:
        assembled += _assemble_any(spec, combinations, False, problems)
    if overrides.sections.entries:
        _assemble_any(spec, combinations, True, problems)
    read = frozenset().union(*(each.names for each in assembled), *(variant.when.names for variant in variants))
    # A name with allowed values is read in any case, because other values are errors.
    read |= {name for name, entry in names.config.items() if entry.allowed}
    spec = replace(spec, read=names.closure(read))
    if not problems:
        problems += unused_names(spec)
    sizes = check_sizes(spec, problems)
    if problems:
        raise SpecError(problems)
    return replace(spec, sizes=sizes)


def _assemble_one(
    spec: Spec, index: int, others: Sequence[int], known: Iterable[Problem]
) -> tuple[int | None, Assembled]:
    """Return the spec assembled with one variant: alone if that is valid, or else with an earlier one, and this one.

    `others` are the variants whose condition is not constant. Only one that changes one of the same sections can help.
    Of several with problems, the result has the fewest at places that are not `known`, and of equals with those of the
    variant alone, the one with another place: there, the earlier variant has removed a problem.
    """
    best: tuple[int | None, Assembled] = None, spec.assemble([index], overridden=False)
    alone = fewest = _places(best[1].problems) - _places(known)
    sections = spec.variants[index].sections.entries.keys()
    for base in others:
        if base >= index or not fewest:
            break
        if not sections.isdisjoint(spec.variants[base].sections.entries):
            assembled = spec.assemble([base, index], overridden=False)
            places = _places(assembled.problems) - _places(known)
            if len(places) < len(fewest) or (len(places) == len(fewest) and fewest == alone != places):
                best, fewest = (base, assembled), places
    return best


def _places(problems: Iterable[Problem]) -> set[tuple[int, int, str]]:
    return {(problem.line, problem.column, problem.path) for problem in problems}


def _assemble_any(
    spec: Spec, combinations: Sequence[Sequence[int]], overridden: bool, problems: list[Problem]
) -> list[Assembled]:
    """Return the spec assembled with each set of variants, a change that always holds among them.

    Such a change may fit one variant alone, say the key of one kind of head. Binding checks it with the variants that
    hold; here it is wrong, and its problems are appended, only if it fits none of them.
    """
    assembled = [spec.assemble(active, overridden) for active in combinations]
    if all(each.problems for each in assembled):
        problems += [problem for each in assembled for problem in each.problems]
    return assembled
