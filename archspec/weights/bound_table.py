"""The bound weight table: its entries, and those of a slot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from archc.archspec.source.nodes import Mark
from archc.archspec.vocabulary.verbs import Step
from archc.archspec.weights.entries import EXPERT_FIELD, EXPERT_PART, LAYER_FIELDS, LAYER_KEY

_LAYER_SLOT = re.compile(r"(encoder\.|)layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"\.experts\.(\d+)(?=\.)")


@dataclass(frozen=True)
class BoundEntry:
    """One entry of the bound table; `steps` holds the steps of each layer, or one item for all layers.

    `others` are alternatives with steps of their own.
    """

    key: str
    names: tuple[str, ...]
    reads_all: bool
    steps: tuple[tuple[Step, ...], ...]
    mark: Mark
    others: tuple[BoundEntry, ...] = ()
    by_layer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # values of names in braces at each layer

    def steps_at(self, layer: int | None) -> tuple[Step, ...]:
        """Return the steps for a layer, in the order in which they apply."""
        return self.steps[layer] if layer is not None and len(self.steps) > 1 else self.steps[0]


Match = tuple[BoundEntry, int | None, int | None, list[str]]
"""An entry, the layer and the expert of a slot, and the checkpoint names for this slot."""


@dataclass(frozen=True)
class BoundTable:
    """The entries of a bound `weights:` section, its prefixes, renamed endings and ignored names."""

    file: str
    prefixes: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    ignore: tuple[str, ...]
    entries: Mapping[str, BoundEntry]
    sets: tuple[int, ...] = ()  # index of each layer's weight set; empty if it is the index of the layer
    encoder_sets: tuple[int, ...] = ()
    is_part: bool = False  # of a multimodal model, whose checkpoint has tensors of other parts

    def find(self, slot: str) -> tuple[Match, ...]:
        """Return the entry with the longest key that names the slot or a module around it, and its alternatives.

        Each is the entry, the slot's layer and expert, and the checkpoint names for this slot; there is none for a slot
        without an entry.
        """
        layer_match, expert_match = _LAYER_SLOT.fullmatch(slot), _EXPERT.search(slot)
        layer = int(layer_match[2]) if layer_match else None
        expert = int(expert_match[1]) if expert_match else None
        spellings = [slot, layer_match[1] + LAYER_KEY + layer_match[3]] if layer_match else [slot]
        if expert_match:
            spellings += [_any_expert(spelling) for spelling in spellings]
        candidates = [(spelling, end) for spelling in spellings for end in _module_ends(spelling)]
        candidates.sort(key=lambda candidate: len(candidate[0]) - candidate[1])
        for spelling, end in candidates:
            entry = self.entries.get(spelling[:end])
            if entry is not None:
                rest = spelling[end:]
                sets = self.encoder_sets if layer_match and layer_match[1] else self.sets
                weight_set = sets[layer] if layer is not None and sets else layer
                return tuple(
                    (each, layer, expert, _slot_names(each, rest, weight_set, layer, expert))
                    for each in (entry, *entry.others)
                )
        return ()


def generic_key(slot: str) -> str:
    """Return the key that names a slot in every layer and expert."""
    return _any_expert(_LAYER_SLOT.sub(rf"\1{LAYER_KEY}\3", slot))


def _slot_names(
    entry: BoundEntry, rest: str, weight_set: int | None, layer: int | None, expert: int | None
) -> list[str]:
    """Return the checkpoint names of a slot; `rest` is its part after the key of the entry."""
    names = [LAYER_FIELDS.sub(lambda field: _index(field, weight_set), name) + rest for name in entry.names]
    for field_name, values in entry.by_layer.items():
        value = values[layer] if layer is not None and layer < len(values) else ""
        names = [name.replace(f"{{{field_name}}}", value) for name in names]
    return [name.replace(EXPERT_FIELD, str(expert)) for name in names]


def _index(field: re.Match[str], weight_set: int | None) -> str:
    """Return the number that a placeholder of the layer's index stands for."""
    if field[1] is None:
        return str(weight_set)
    assert weight_set is not None
    return str(weight_set // int(field[2]) if field[1] == "//" else weight_set % int(field[2]))


def _any_expert(slot: str) -> str:
    return _EXPERT.sub(f".{EXPERT_PART}", slot)


def _module_ends(name: str) -> Iterator[int]:
    """Yield the length of the name and of each module path in it."""
    yield len(name)
    for index, character in enumerate(name):
        if character == ".":
            yield index
