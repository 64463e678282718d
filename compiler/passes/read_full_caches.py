"""Attention over whole caches: the copy of the live part, which every call would make, goes.

ONNX Runtime has no view of a part of a tensor: `Slice` copies the keys and values of all tokens so far, at every token.
Masks as long as the cache compute the same, and the runtime's caches are hardly longer than what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from archc.compiler.contract.ports import is_mask, state_kind
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import axis_name, required, shape_of
from archc.compiler.lowerings.attention.caches import SELECTIONS, SLOTS, mask_of

_KINDS = ("kv", "ring")


class ReadFullCaches(ir.passes.InPlacePass):
    """Names the last axis of a mask, and of what an indexer selects of it, after the slots of the caches it masks.

    A mask over caches of several sizes, or over a cache that something else reads, stays as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename the axes of all masks for which that is right."""
        graph = model.graph
        changed = False
        for mask in graph.inputs:
            masks = list(_selections(mask)) if is_mask(mask) else []
            sizes = {_slots(node) for item in masks for node in _readers(item)}
            size = sizes.pop() if len(sizes) == 1 else None
            if size is not None:
                for item in masks:
                    item.shape = ir.Shape([*shape_of(item)[:-1], size])
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _selections(mask: ir.Value) -> Iterator[ir.Value]:
    """Yield a mask and the masks of the keys that indexers select of it."""
    yield mask
    for node in _readers(mask):
        if node.op_type in SELECTIONS:
            yield from _selections(node.outputs[0])


def _readers(mask: ir.Value) -> list[ir.Node]:
    """Return the nodes of attention and of indexers over caches that a mask belongs to."""
    nodes = [use.node for use in mask.uses() if _reads_caches(use.node)]
    return [node for node in nodes if mask_of(node) is mask and node.attributes["cached"].as_int()]


def _reads_caches(node: ir.Node) -> bool:
    return node.domain == ARCHC and (node.op_type.endswith("Attention") or node.op_type in SELECTIONS)


def _slots(node: ir.Node) -> str | None:
    """Return the name of the slots of the caches that a node reads; None if they differ or are read elsewhere."""
    indices = {"JointAttention": (1,), "LatentAttention": (2,), **dict.fromkeys(SELECTIONS, (1,))}.get(
        node.op_type, (1, 2)
    )
    caches = [required(node.inputs[index]) for index in indices]
    names = {axis_name(cache, SLOTS) for cache in caches}
    alone = all(_is_updated_cache(cache) for cache in caches)
    return names.pop() if alone and len(names) == 1 else None


def _is_updated_cache(cache: ir.Value) -> bool:
    """Return whether a value is a growing cache or a ring that attention and indexers alone read."""
    update = cache.producer()
    if update is None or (update.domain, update.op_type) != (ARCHC, "UpdateCache"):
        return False
    if state_kind(required(update.inputs[0])) not in _KINDS:
        return False
    return all(_reads_caches(use.node) for use in cache.uses())
