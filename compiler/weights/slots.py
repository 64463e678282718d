"""Weight slots: the tensors of a model that a checkpoint fills.

Each parameter is one slot, except for stacked experts: these have one slot per expert, so that no more than one expert
is in memory at a time, however the checkpoint stores them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from torch import Tensor, nn

from archc.compiler.modules.mlp.experts import Experts
from archc.compiler.weights.formats.stored_blocks import StoredGroups
from archc.compiler.weights.lazy import RowSource


class Slots(Protocol):
    """The slots of a model with their tensors: those of a checkpoint, or random ones."""

    def names(self) -> Collection[str]:
        """Return the names of all slots."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a slot."""

    def open(self, name: str) -> Tensor | RowSource:
        """Return a slot's tensor, or its source if it is too large to be in memory as a whole."""

    def read(self, name: str) -> Tensor:
        """Return a slot's tensor."""

    def find_groups(self, name: str) -> StoredGroups | None:
        """Return the groups of a slot that is stored in 4-bit integers; None for any other slot."""

    def open_stored(self, name: str) -> RowSource:
        """Return the rows of a slot with groups: integers [K], scales [G] and zero points [G] each."""


def parameter_slots(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the slots of each parameter by its name: the parameter itself, or its experts along the first axis."""
    counts = {f"{path}.": module.count for path, module in model.named_modules() if isinstance(module, Experts)}
    slots: dict[str, tuple[str, ...]] = {}
    for name, _ in model.named_parameters():
        owner = next((path for path in _owners(name) if path in counts), None)
        if owner is None:
            slots[name] = (name,)
        else:
            slots[name] = tuple(f"{owner}{index}.{name[len(owner) :]}" for index in range(counts[owner]))
    return slots


def slot_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every slot of a model; a parameter that is tied to another has no slot."""
    shapes: dict[str, tuple[int, ...]] = {}
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    for name, slots in parameter_slots(model).items():
        shape = tuple(parameters[name].shape)
        shapes |= dict.fromkeys(slots, shape if slots == (name,) else shape[1:])
    return shapes


def _owners(name: str) -> list[str]:
    """Return the paths of the modules that contain a parameter, each with a trailing dot."""
    parts = name.split(".")
    return [".".join(parts[:count]) + "." for count in range(1, len(parts))]
