"""From checkpoint names to the model's slots: a checkpoint seen through a spec's weight table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from archc.archspec import BoundSpec
from archc.archspec.vocabulary.verbs import Select
from archc.archspec.weights.resolve import Resolution
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.reader import Weights
from archc.compiler.weights.checkpoint.verbs import apply_steps
from archc.compiler.weights.lazy import RowSource
from archc.compiler.weights.slots import slot_shapes

# Tensors of more bytes are read a range of rows at a time.
_LARGE = 128 * 2**20


class SlotReader:
    """The slots of a model, each made from the checkpoint's tensors when it is asked for."""

    def __init__(self, weights: Weights, resolution: Resolution, slots: Mapping[str, tuple[int, ...]]) -> None:
        self.weights, self.resolution, self.slots = weights, resolution, slots

    def names(self) -> Collection[str]:
        """The slots' names."""
        return self.slots.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one slot."""
        return self.slots[name]

    def open(self, name: str) -> Tensor | RowSource:
        """One slot's tensor, or where its rows are, if it is large and a checkpoint's tensor as it lies."""
        source = self.resolution.sources[name]
        first = source.names[0]
        as_it_lies = not source.steps and self.weights.shape(first) == self.slots[name]
        if not as_it_lies or self.weights.bytes(first) <= _LARGE:
            return self.read(name)
        return RowSource(self.slots[name], lambda start, stop: self.weights.read(first, (slice(start, stop),)))

    def read(self, name: str) -> Tensor:
        """One slot's tensor. Raises BuildError where the checkpoint's shapes do not give the slot's."""
        source = self.resolution.sources[name]
        shapes = ", ".join(f"'{n}' {list(self.weights.shape(n))}" for n in source.names)
        try:
            first, *rest = source.steps or (None,)
            if isinstance(first, Select) and first.axis == 0:
                value = apply_steps([self.weights.read(n, first.index) for n in source.names], rest)
            else:
                value = apply_steps([self.weights.read(n) for n in source.names], source.steps)
        except (ValueError, RuntimeError) as error:
            raise BuildError(f"{name}: {shapes} cannot be cut as the weight table says: {error}") from None
        if tuple(value.shape) != self.slots[name]:
            raise BuildError(
                f"{name}: the spec gives it the shape {list(self.slots[name])}, but the checkpoint's {shapes} gives "
                f"{list(value.shape)}: the config does not belong to this checkpoint, or the spec is wrong"
            )
        return value


def tied_slots(model: torch.nn.Module) -> dict[str, str]:
    """Names of parameters that are another's: {"head.weight": "embedding.tokens.weight"}."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: first[id(parameter)] for name, parameter in every if first[id(parameter)] != name}


def map_checkpoint(spec: BoundSpec, model: torch.nn.Module, weights: Weights, where: Path) -> SlotReader:
    """A checkpoint seen as slots. Raises WeightsError for names and BuildError for a tied tensor that differs."""
    slots = slot_shapes(model)
    resolution = spec.weights.resolve(slots, weights.names(), ties=tied_slots(model), checkpoint=str(where))
    reader = SlotReader(weights, resolution, slots)
    weights.check_numbers(name for source in resolution.sources.values() for name in source.names)
    _check_selected(resolution, weights, where)
    for duplicate, slot in resolution.tied_duplicates.items():
        if not torch.equal(weights.read(duplicate), reader.read(slot)):
            raise BuildError(
                f"{where}: '{duplicate}' differs from the tensor that {slot} is made of, though the config ties them: "
                f"build with --set {_tie_of(duplicate, spec)}=false to use both"
            )
    return reader


def _tie_of(duplicate: str, spec: BoundSpec) -> str:
    """The key that ties a checkpoint tensor to another: the encoder's tokens, where its entry names it, or the head."""
    tokens = spec.weights.entries.get("encoder.embedding.tokens")
    names = tokens.names if tokens is not None and spec.encoder is not None else ()
    return "encoder.tie" if any(duplicate.endswith(f"{name}.weight") for name in names) else "head.tie"


def _check_selected(resolution: Resolution, weights: Weights, where: Path) -> None:
    """Every place of a tensor that is read in places must fill a slot."""
    taken: dict[str, set[tuple[int, ...]]] = {}
    axes: dict[str, int] = {}
    for source in resolution.sources.values():
        first = source.steps[0] if source.steps else None
        if isinstance(first, Select):
            for name in source.names:
                taken.setdefault(name, set()).add(first.index)
                axes[name] = first.axis
    for name, places in taken.items():
        count = len(next(iter(places)))
        total = math.prod(weights.shape(name)[axes[name] : axes[name] + count])
        if len(places) < total:
            raise BuildError(
                f"{where}: '{name}' {list(weights.shape(name))} has {total} places from axis {axes[name]} on, and the "
                f"weight table reads {len(places)}: the config does not belong to this checkpoint, or the spec is wrong"
            )
