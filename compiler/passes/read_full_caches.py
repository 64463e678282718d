"""Attention over whole caches: the copy of the live part, which every call would make, goes.

ONNX Runtime has no view of a part of a tensor: `Slice` copies the keys and values of all tokens so far, at every token.
Masks as long as the cache compute the same, and the runtime's caches are hardly longer than what is in them.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import is_mask, state_kind
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import axis_name, required, shape_of
from archc.compiler.lowerings.attention.caches import SLOTS, mask_of

_KINDS = ("kv", "ring")


class ReadFullCaches(ir.passes.InPlacePass):
    """Names the last axis of a mask after the slots of the caches that it masks.

    A mask over caches of several sizes, or over a cache that something else reads, stays as it is.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename the axes of all masks for which that is right."""
        graph = model.graph
        changed = False
        for mask in graph.inputs:
            sizes = {_slots(node) for node in _attention(mask)} if is_mask(mask) else set()
            size = sizes.pop() if len(sizes) == 1 else None
            if size is not None:
                mask.shape = ir.Shape([*shape_of(mask)[:-1], size])
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _attention(mask: ir.Value) -> list[ir.Node]:
    """Return the attention nodes over caches that a mask belongs to."""
    nodes = [use.node for use in mask.uses() if use.node.domain == ARCHC and use.node.op_type.endswith("Attention")]
    return [node for node in nodes if mask_of(node) is mask and node.attributes["cached"].as_int()]


def _slots(node: ir.Node) -> str | None:
    """Return the name of the slots of an attention node's caches; None if they differ or are read elsewhere."""
    latent = node.op_type == "LatentAttention"
    caches = [required(node.inputs[2])] if latent else [required(value) for value in node.inputs[1:3]]
    names = {axis_name(cache, SLOTS) for cache in caches}
    alone = all(_is_read_by_attention(cache) for cache in caches)
    return names.pop() if alone and len(names) == 1 else None


def _is_read_by_attention(cache: ir.Value) -> bool:
    update = cache.producer()
    if update is None or (update.domain, update.op_type) != (ARCHC, "UpdateCache"):
        return False
    if state_kind(required(update.inputs[0])) not in _KINDS:
        return False
    return all(use.node.domain == ARCHC and use.node.op_type.endswith("Attention") for use in cache.uses())
