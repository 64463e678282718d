"""Attention over whole caches: the copy of the live part, which every call would make, goes.

ONNX Runtime has no view of a part of a tensor: `Slice` copies the keys and values of all tokens so far, at every token.
Masks as long as the cache say the same, and the runtime keeps caches hardly longer than what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from msgspec.structs import replace

from archc.plan.manifest import Input, State

_KINDS = ("kv", "ring")


def read_whole_caches(model: ir.Model, inputs: Sequence[Input], states: Sequence[State]) -> list[Input]:
    """Replaces the slices of caches by the caches; returns the inputs, with masks as long as what they hide.

    A mask whose caches are read in another way, too, stays as it is, and so do they.
    """
    graph = model.graph
    presents = {value: state for value in graph.outputs for state in states if value.name == state.output}
    slices: dict[str, list[tuple[ir.Node, State]]] = {}
    for present, state in presents.items():
        if state.kind in _KINDS:
            for use in present.uses():
                slices.setdefault(_mask_of(use.node) if use.idx == 0 else "", []).append((use.node, state))
    odd = {id(state) for _, state in slices.pop("", [])}
    changed = []
    for item in inputs:
        found = slices.get(item.name, [])
        sizes = {str(state.shape[_slots(state)]) for _, state in found}
        if len(sizes) != 1 or any(id(state) in odd for _, state in found):
            changed.append(item)
            continue
        size = sizes.pop()
        mask = next(value for value in graph.inputs if value.name == item.name)
        assert mask.shape is not None
        mask.shape = ir.Shape([*mask.shape[:-1], size])
        for node, _ in found:
            source = node.inputs[0]
            assert source is not None
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
            graph.remove(node, safe=True)
        changed.append(replace(item, shape=(*item.shape[:-1], size)))
    return changed


def _slots(state: State) -> int:
    """The axis of a cache's slots: the named one that is not the batch."""
    return next(axis for axis, size in enumerate(state.shape) if isinstance(size, str) and axis)


def _mask_of(node: ir.Node) -> str:
    """The mask whose length a slice cuts a cache to, or "" for any other node."""
    end = node.inputs[2] if node.op_type == "Slice" and len(node.inputs) >= 3 else None
    shape = end.producer() if end is not None else None
    if shape is None or shape.op_type != "Shape":
        return ""
    mask = shape.inputs[0]
    return mask.name or "" if mask is not None and mask.producer() is None else ""
