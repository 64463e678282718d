"""The weight table with its sizes known: which tensors of a checkpoint fill the slots of a model."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from archc.archspec.errors import Problem, WeightsError, clipped, did_you_mean, hints, listed
from archc.archspec.source.yaml_tree import Mark
from archc.archspec.vocabulary.verbs import Normalize, Reshape, Select, Split, Stack, Step, Transpose, Unstack
from archc.archspec.weights.table import EXPERT_FIELD, EXPERT_PART, INDEX_FIELD, LAYER_FIELD, LAYER_KEY

_MOST_PROBLEMS = 20  # of one sort: a wrong prefix makes thousands
_MOST_HINTS = 5  # looking for the nearest of thousands of names is slow
_LAYER_SLOT = re.compile(r"(encoder\.|)layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"\.experts\.(\d+)(?=\.)")


@dataclass(frozen=True)
class BoundEntry:
    """One entry of the table; `steps` holds the verbs of each layer, or one item where all layers share them."""

    key: str
    names: tuple[str, ...]
    all_needed: bool
    steps: tuple[tuple[Step, ...], ...]
    mark: Mark

    def steps_at(self, layer: int | None) -> tuple[Step, ...]:
        """The verbs for a layer, in the order in which they apply."""
        return self.steps[layer] if layer is not None and len(self.steps) > 1 else self.steps[0]


@dataclass(frozen=True)
class Source:
    """Where a slot's tensor comes from: checkpoint tensors, and the verbs that apply to them in order.

    Several names are always followed by a Concat or a Stack among the steps. The steps fit the rank of what they apply
    to: for a vector, Transpose, Select and Normalize are left out and every axis is 0. A Select that comes first, along
    axis 0, is an expert's or another part of a tensor of which no more need be read.
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Resolution:
    """What fills each slot, and checkpoint tensors that repeat a tied one: their name → the slot that they equal."""

    sources: Mapping[str, Source]
    tied_duplicates: Mapping[str, str]


@dataclass(frozen=True)
class BoundWeights:
    """A bound `weights:` section."""

    file: str
    prefixes: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    ignore: tuple[str, ...]
    entries: Mapping[str, BoundEntry]
    # The number of each layer's weights, where it is not the layer's own place: of the one stack, and of the encoder.
    sets: tuple[int, ...] = ()
    encoder_sets: tuple[int, ...] = ()

    def find(self, slot: str) -> tuple[BoundEntry, int | None, int | None, list[str]] | None:
        """The longest key that names the slot or a module that it is in, its layer and expert, the checkpoint names."""
        match, among = _LAYER_SLOT.fullmatch(slot), _EXPERT.search(slot)
        layer = int(match[2]) if match else None
        expert = int(among[1]) if among else None
        spellings = [slot, match[1] + LAYER_KEY + match[3]] if match else [slot]
        if among:
            spellings += [_any_expert(spelling) for spelling in spellings]
        candidates = [(spelling, end) for spelling in spellings for end in _boundaries(spelling)]
        candidates.sort(key=lambda candidate: len(candidate[0]) - candidate[1])
        for spelling, end in candidates:
            entry = self.entries.get(spelling[:end])
            if entry is not None:
                rest = spelling[end:]
                sets = self.encoder_sets if match and match[1] else self.sets
                number = sets[layer] if layer is not None and sets else layer
                names = [name.replace(LAYER_FIELD, str(number)) + rest for name in entry.names]
                return entry, layer, expert, [name.replace(EXPERT_FIELD, str(expert)) for name in names]
        return None

    def resolve(
        self,
        slots: Mapping[str, tuple[int, ...]],
        available: Collection[str],
        ties: Mapping[str, str] | None = None,
        checkpoint: str = "checkpoint",
    ) -> Resolution:
        """What fills each slot (name → shape) from the tensors that a checkpoint has.

        `ties` names slots that the model does not have because they equal another: {"head.weight":
        "embedding.tokens.weight"}. Raises WeightsError with every unfilled slot, every tensor that nothing reads, and
        every slot with two sources.
        """
        return _Resolver(self, available, checkpoint).resolve(slots, ties or {})


@dataclass
class _Resolver:
    table: BoundWeights
    available: Collection[str]
    checkpoint: str
    present: dict[str, str] = field(default_factory=dict)  # name as the table writes it → name in the checkpoint
    used: set[str] = field(default_factory=set)
    taken: dict[str, set[int]] = field(default_factory=dict)  # parts that slots took of a split tensor
    parts: dict[str, Split] = field(default_factory=dict)
    twice: list[Problem] = field(default_factory=list)
    unfilled: list[Problem] = field(default_factory=list)
    unread: list[Problem] = field(default_factory=list)

    def resolve(self, slots: Mapping[str, tuple[int, ...]], ties: Mapping[str, str]) -> Resolution:
        self._read_names()
        sources: dict[str, Source] = {}
        for slot, shape in slots.items():
            source = self._source(slot, len(shape))
            if source is not None:
                sources[slot] = source
        duplicates = {
            self.present[name]: target
            for slot, target in ties.items()
            if slot not in slots
            for name in self._tied(slot)
        }
        self._find_unread()
        problems = [*_capped(self.unfilled), *_capped(self.twice), *_capped(self.unread)]
        if problems:
            raise WeightsError(problems)
        return Resolution(sources, duplicates)

    def _read_names(self) -> None:
        for original in sorted(self.available):
            name = original
            prefix = next((prefix for prefix in self.table.prefixes if name.startswith(prefix)), "")
            name = name[len(prefix) :]
            for old, new in self.table.rename:
                if name == old or name.endswith("." + old):
                    name = name[: len(name) - len(old)] + new
            if name in self.present:
                both = _quoted([self.present[name], original])
                message = f"two tensors are both read as '{clipped(name)}': {both}"
                self.twice.append(Problem(self.checkpoint, 0, 0, "", message))
            self.present[name] = original

    def _source(self, slot: str, rank: int) -> Source | None:
        found = self.table.find(slot)
        if found is None:
            self.unfilled.append(self._no_entry(slot))
            return None
        entry, layer, expert, tried = found
        stack = next((step for step in entry.steps_at(layer) if isinstance(step, Stack)), None)
        all_needed = entry.all_needed or stack is not None
        if stack is not None:
            tried = self._numbered(tried, stack.count)
        here = [name for name in tried if name in self.present]
        if not here or (all_needed and len(here) < len(tried)):
            missing = [name for name in tried if name not in self.present] if all_needed else tried
            near = did_you_mean(missing[0], self.present) if len(self.unfilled) < _MOST_HINTS else ""
            message = f"the slot is not filled: the checkpoint has no {_quoted(missing)}"
            self.unfilled.append(entry.mark.problem(f"weights: {slot}", message, near))
            self.used.update(here)
            return None
        self.used.update(here)
        if not all_needed and len(here) > 1:
            message = f"the slot is filled twice: the checkpoint has {_quoted(here)}"
            self.twice.append(entry.mark.problem(f"weights: {slot}", message))
        names = here if all_needed else here[:1]
        steps = tuple(_unstacked(_for_rank(entry.steps_at(layer), rank), expert))
        split = next((step for step in steps if isinstance(step, Split)), None)
        if split is not None:
            for name in names:
                self.parts[name] = split
                self.taken.setdefault(name, set()).add(split.take)
        return Source(tuple(self.present[name] for name in names), steps)

    def _numbered(self, templates: list[str], count: int) -> list[str]:
        """The names that a stack reads: of the first template with any tensor, or of the first."""
        lists = [[name.replace(INDEX_FIELD, str(index)) for index in range(count)] for name in templates]
        return next((names for names in lists if not self.present.keys().isdisjoint(names)), lists[0])

    def _no_entry(self, slot: str) -> Problem:
        generic = generic_key(slot)
        near = did_you_mean(generic, self.table.entries) if len(self.unfilled) < _MOST_HINTS else ""
        hint = hints(near, f"add '{generic}' to weights.tensors")
        return Problem(self.table.file, 0, 0, f"weights: {slot}", "the table has no entry for this slot", hint)

    def _tied(self, slot: str) -> list[str]:
        found = self.table.find(slot)
        tried = found[-1] if found is not None else []
        names = [name for name in tried if name in self.present and name not in self.used]
        self.used.update(names)
        return names

    def _find_unread(self) -> None:
        patterns = [re.compile(fnmatch.translate(pattern)) for pattern in self.table.ignore]
        for name, original in self.present.items():
            if name in self.used or any(p.match(name) or p.match(original) for p in patterns):
                continue
            hint = "add it to weights.tensors, or to weights.ignore if the model does not need it"
            message = f"nothing reads the tensor '{clipped(original, 120)}'"
            self.unread.append(Problem(self.checkpoint, 0, 0, "", message, "" if self.unread else hint))
        for name, split in self.parts.items():
            for part in sorted(set(range(len(split.parts))) - self.taken[name]):
                message = f"part {part} of the tensor '{clipped(self.present[name], 120)}' fills no slot"
                self.unread.append(Problem(self.checkpoint, 0, 0, "", message))


def _quoted(names: list[str]) -> str:
    return listed(f"'{clipped(name, 120)}'" for name in names)


def _boundaries(name: str) -> Iterator[int]:
    yield len(name)
    for index, character in enumerate(name):
        if character == ".":
            yield index


def generic_key(slot: str) -> str:
    """The key that names a slot in every layer and expert."""
    return _any_expert(_LAYER_SLOT.sub(rf"\1{LAYER_KEY}\3", slot))


def _any_expert(slot: str) -> str:
    """The key that names a slot in every expert."""
    return _EXPERT.sub(f".{EXPERT_PART}", slot)


def _unstacked(steps: Iterable[Step], expert: int | None) -> Iterator[Step]:
    """The steps with an expert's own place where they ask for it."""
    for step in steps:
        yield Select(axis=0, index=(expert or 0,)) if isinstance(step, Unstack) else step


def _for_rank(steps: tuple[Step, ...], rank: int) -> Iterator[Step]:
    """The steps that make sense on the way to a slot of that rank; before a stack, tensors have an axis less.

    A reshape is written for the one tensor that it fits, and so are the steps beside it.
    """
    if any(isinstance(step, Reshape) for step in steps):
        yield from steps
        return
    stacks = [index for index, step in enumerate(steps) if isinstance(step, Stack)]
    for index, step in enumerate(steps):
        if isinstance(step, Stack | Unstack) or rank - any(index < place for place in stacks) > 1:
            yield step
        elif not isinstance(step, Transpose | Select | Normalize):
            yield step.model_copy(update={"axis": 0})


def _capped(problems: list[Problem]) -> list[Problem]:
    rest = len(problems) - _MOST_PROBLEMS
    if rest <= 0:
        return problems
    return [*problems[:_MOST_PROBLEMS], Problem(problems[0].file, 0, 0, "", f"and {rest} more like the last one")]
