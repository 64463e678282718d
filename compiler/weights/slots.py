"""The slots of a model: the tensors that a checkpoint fills, one by one.

A parameter is a slot, but for those that stack a mixture's experts: they have a slot for each expert, so that no more
than one expert's numbers are in memory at once, however the checkpoint keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from archc.compiler.modules.mlp.experts import Experts


def parameter_slots(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Each parameter's slots by its name: itself, or its experts' in order along its first axis."""
    stacks = {f"{path}.": module.count for path, module in model.named_modules() if isinstance(module, Experts)}
    slots: dict[str, tuple[str, ...]] = {}
    for name, _ in model.named_parameters():
        owner = next((path for path in _owners(name) if path in stacks), None)
        if owner is None:
            slots[name] = (name,)
        else:
            slots[name] = tuple(f"{owner}{index}.{name[len(owner) :]}" for index in range(stacks[owner]))
    return slots


def slot_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every slot of a model and its shape; a tied head has none of its own."""
    shapes: dict[str, tuple[int, ...]] = {}
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    for name, slots in parameter_slots(model).items():
        shape = tuple(parameters[name].shape)
        shapes |= dict.fromkeys(slots, shape if slots == (name,) else shape[1:])
    return shapes


def _owners(name: str) -> list[str]:
    """The paths of the modules around a parameter, each with a dot at its end."""
    parts = name.split(".")
    return [".".join(parts[:count]) + "." for count in range(1, len(parts))]
