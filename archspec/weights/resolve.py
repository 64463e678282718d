"""The resolution of a bound weight table: the checkpoint tensors that fill the weight slots of a model."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal

from archc.archspec.errors import Problem, WeightsError, clip, did_you_mean, format_list, join_hints
from archc.archspec.vocabulary.verbs import Split, Stack, Step
from archc.archspec.weights.bound_table import BoundTable, Match, generic_key
from archc.archspec.weights.entries import INDEX_FIELD
from archc.archspec.weights.names import spell_names, spell_part
from archc.archspec.weights.slot_steps import bind_unstack, for_rank

_MAX_PROBLEMS = 20  # of one sort: a wrong prefix causes thousands
_MAX_HINTS = 5  # finding the closest of thousands of names is slow


@dataclass(frozen=True)
class TensorRef:
    """Checkpoint tensors, and the steps that compute a slot's tensor from them.

    With several names there is a Concat or a Stack among the steps. The steps are for the rank of the slot: for a
    vector, Transpose, Select and Normalize are left out, and every axis is 0. If the first step is a Select along axis
    0, only the selected part of the tensor needs to be read.
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...] = ()


Use = Literal["read", "ignored", "unread", "outside"]
"""The use of a tensor: `ignored` by the table, or `outside` of the text model of a multimodal checkpoint."""


@dataclass(frozen=True)
class Resolution:
    """The source of each slot, and duplicates of tied tensors: checkpoint name → slot with equal values."""

    sources: Mapping[str, TensorRef]
    tied_duplicates: Mapping[str, str]
    outside: tuple[str, ...] = ()  # tensors of the other parts of a multimodal model


@dataclass(frozen=True)
class Survey:
    """The use of each tensor of a checkpoint, whether or not the table fits, and the slots that no tensor fills."""

    uses: Mapping[str, Use]
    unfilled: tuple[str, ...]


@dataclass(frozen=True)
class BoundWeights(BoundTable):
    """A bound `weights:` section, and its resolution with the tensors of a checkpoint."""

    def resolve(
        self,
        slots: Mapping[str, tuple[int, ...]],
        available: Collection[str],
        ties: Mapping[str, str] | None = None,
        checkpoint: str = "checkpoint",
    ) -> Resolution:
        """Return the source of each slot (name → shape) among the tensors of a checkpoint.

        `ties` maps slots that the model does not have to the slot that they equal: {"head.weight":
        "embedding.tokens.weight"}. Raises WeightsError with every unfilled slot, every unused tensor, and every slot
        with two sources.
        """
        return _Resolver(self, available, checkpoint).resolve(slots, ties or {})

    def survey(
        self, slots: Mapping[str, tuple[int, ...]], available: Collection[str], ties: Mapping[str, str]
    ) -> Survey:
        """Return the use of each tensor of a checkpoint; unlike `resolve`, for a table that does not fit it, too."""
        return _Resolver(self, available, "checkpoint").survey(slots, ties)


@dataclass
class _Resolver:
    table: BoundWeights
    available: Collection[str]
    checkpoint: str
    originals: dict[str, str] = field(default_factory=dict)  # name in the table's spelling → name in the checkpoint
    matches: dict[str, tuple[Match, ...]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    splits: dict[str, Split] = field(default_factory=dict)
    used_parts: dict[str, set[int]] = field(default_factory=dict)  # parts of a split tensor that fill slots
    ambiguous: list[Problem] = field(default_factory=list)
    unfilled: list[Problem] = field(default_factory=list)
    unused: list[Problem] = field(default_factory=list)

    def resolve(self, slots: Mapping[str, tuple[int, ...]], ties: Mapping[str, str]) -> Resolution:
        sources, duplicates = self._fill(slots, ties)
        self._report_unused()
        problems = [*_limit(self.unfilled), *_limit(self.ambiguous), *_limit(self.unused)]
        if problems:
            raise WeightsError(problems)
        return Resolution(sources, duplicates, tuple(sorted(set(self.available) - set(self.originals.values()))))

    def survey(self, slots: Mapping[str, tuple[int, ...]], ties: Mapping[str, str]) -> Survey:
        sources, _ = self._fill(slots, ties)
        uses: dict[str, Use] = dict.fromkeys(self.available, "outside")
        for name, original in self.originals.items():
            uses[original] = "read" if name in self.used else "ignored" if self._is_ignored(name) else "unread"
        return Survey(uses, tuple(slot for slot in slots if slot not in sources))

    def _fill(
        self, slots: Mapping[str, tuple[int, ...]], ties: Mapping[str, str]
    ) -> tuple[dict[str, TensorRef], dict[str, str]]:
        """Return the source of each slot that has one, and the duplicates of tied tensors; report the problems."""
        self._read_names([*slots, *ties])
        others: dict[str, list[str]] = {}
        for other, slot in ties.items():
            others.setdefault(slot, []).append(other)
        sources: dict[str, TensorRef] = {}
        for slot, shape in slots.items():
            source = self._source(slot, len(shape), others.get(slot, []))
            if source is not None:
                sources[slot] = source
        duplicates = {
            self.originals[name]: target
            for slot, target in ties.items()
            if slot not in slots
            for name in self._tied_names(slot)
        }
        return sources, duplicates

    def _read_names(self, slots: Iterable[str]) -> None:
        """Spell the checkpoint's names as the table does; report two tensors with one name."""
        expected = {name for slot in slots for names in self._choices(slot) for name in names}
        pairs = (
            spell_part(self.available, self.table.rename, expected)
            if self.table.is_part
            else spell_names(self.available, self.table.prefixes, self.table.rename, expected)
        )
        for original, name in pairs:
            if name in self.originals:
                both = _quote([self.originals[name], original])
                message = f"two tensors have the name '{clip(name)}' after optional_prefix and rename: {both}"
                self.ambiguous.append(Problem(self.checkpoint, 0, 0, "", message))
            self.originals[name] = original

    def _find_all(self, slot: str) -> tuple[Match, ...]:
        if slot not in self.matches:
            self.matches[slot] = self.table.find(slot)
        return self.matches[slot]

    def _find(self, slot: str) -> Match | None:
        """Return the first alternative of a slot with a tensor in the checkpoint, or else the first one."""
        matches = self._find_all(slot)
        if len(matches) < 2:
            return next(iter(matches), None)
        stored = (match for match in matches if any(name in self.originals for name in chain(*_choices(match))))
        return next(stored, matches[0])

    def _choices(self, slot: str) -> list[list[str]]:
        """Return the alternatives of a slot, each a list of checkpoint names; none without an entry."""
        return [names for match in self._find_all(slot) for names in _choices(match)]

    def _is_stored(self, slot: str) -> bool:
        return any(name in self.originals for names in self._choices(slot) for name in names)

    def _source(self, slot: str, rank: int, others: Iterable[str]) -> TensorRef | None:
        """Return the source of a slot, or None after reporting a problem.

        A checkpoint may store a shared tensor under the name of one of the `others`, the slots that are tied to it.
        """
        stored = None if self._is_stored(slot) else next(filter(self._is_stored, others), None)
        match = self._find(stored or slot)
        if match is None:
            self.unfilled.append(self._missing_entry(slot))
            return None
        entry, layer, expert, candidates = match
        stack = next((step for step in entry.steps_at(layer) if isinstance(step, Stack)), None)
        reads_all = entry.reads_all or stack is not None
        if stack is not None:
            candidates = self._numbered(candidates, stack.count)
        present = [name for name in candidates if name in self.originals]
        if not reads_all and len(present) > 1:
            present = [name for name in present if not self._is_ignored(name)] or present
        present = present[:1] if stored is not None and not reads_all else present
        self.used.update(present)
        if not present or (reads_all and len(present) < len(candidates)):
            missing = [name for name in candidates if name not in self.originals] if reads_all else candidates
            hint = did_you_mean(missing[0], self.originals) if len(self.unfilled) < _MAX_HINTS else ""
            message = f"the slot is not filled: {_quote(missing)} not found in the checkpoint"
            self.unfilled.append(entry.mark.problem(f"weights: {slot}", message, hint))
            return None
        if not reads_all and len(present) > 1:
            message = f"the slot has several sources: the checkpoint contains {_quote(present)}"
            hint = "keep one of these names in the entry"
            self.ambiguous.append(entry.mark.problem(f"weights: {slot}", message, hint))
        names = present if reads_all else present[:1]
        steps = tuple(bind_unstack(for_rank(entry.steps_at(layer), rank), expert))
        split = next((step for step in steps if isinstance(step, Split)), None)
        if split is not None:
            for name in names:
                self.splits[name] = split
                self.used_parts.setdefault(name, set()).add(split.take)
        return TensorRef(tuple(self.originals[name] for name in names), steps)

    def _numbered(self, templates: list[str], count: int) -> list[str]:
        """Return the names that a stack reads: of the first template with any tensor, or of the first."""
        lists = [[name.replace(INDEX_FIELD, str(index)) for index in range(count)] for name in templates]
        return next((names for names in lists if not self.originals.keys().isdisjoint(names)), lists[0])

    def _missing_entry(self, slot: str) -> Problem:
        key = generic_key(slot)
        candidate = did_you_mean(key, self.table.entries) if len(self.unfilled) < _MAX_HINTS else ""
        hint = join_hints(candidate, f"add '{key}' to weights.tensors")
        return Problem(self.table.file, 0, 0, f"weights: {slot}", "the table has no entry for this slot", hint)

    def _tied_names(self, slot: str) -> list[str]:
        """Return the unused checkpoint names of a slot that the model does not have."""
        match = self._find(slot)
        candidates = match[-1] if match is not None else []
        names = [name for name in candidates if name in self.originals and name not in self.used]
        self.used.update(names)
        return names

    def _is_ignored(self, name: str) -> bool:
        """Return whether `weights.ignore` lists a tensor, in the table's spelling or the checkpoint's."""
        return any(pattern.match(name) or pattern.match(self.originals[name]) for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(fnmatch.translate(pattern)) for pattern in self.table.ignore]

    def _report_unused(self) -> None:
        for name, original in self.originals.items():
            if name in self.used or self._is_ignored(name):
                continue
            hint = "add it to weights.tensors, or to weights.ignore if it has no effect"
            message = f"unused tensor '{clip(original, 120)}'"
            self.unused.append(Problem(self.checkpoint, 0, 0, "", message, "" if self.unused else hint))
        for name, split in self.splits.items():
            for part in sorted(set(range(len(split.parts))) - self.used_parts[name]):
                message = f"part {part} of the tensor '{clip(self.originals[name], 120)}' fills no slot"
                self.unused.append(Problem(self.checkpoint, 0, 0, "", message))


def _choices(match: Match) -> list[list[str]]:
    """Return the alternative names of an entry, each a list of the numbered tensors of a stack, or of one name."""
    entry, layer, _, candidates = match
    stack = next((step for step in entry.steps_at(layer) if isinstance(step, Stack)), None)
    if stack is None:
        return [[name] for name in candidates]
    return [[name.replace(INDEX_FIELD, str(index)) for index in range(stack.count)] for name in candidates]


def _quote(names: list[str]) -> str:
    return format_list(f"'{clip(name, 120)}'" for name in names)


def _limit(problems: list[Problem]) -> list[Problem]:
    """Return at most _MAX_PROBLEMS problems, and the number of the others."""
    rest = len(problems) - _MAX_PROBLEMS
    if rest <= 0:
        return problems
    return [*problems[:_MAX_PROBLEMS], Problem(problems[0].file, 0, 0, "", f"and {rest} more like the last one")]
