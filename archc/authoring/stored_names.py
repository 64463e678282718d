"""Names of stored tensors by their endings: the parts behind the layer's number, which prefixes do not change."""

from __future__ import annotations

import re
from collections.abc import Mapping

from archc.archspec.source.alternatives import expand_entry
from archc.archspec.source.nodes import ListNode, MappingNode, Node, ScalarNode

_LAYER = re.compile(r"\{layer[^{}]*\}")


def table_endings(weights: MappingNode) -> Mapping[str, frozenset[str]]:
    """Return the endings of the checkpoint names of each key of a weight table, alternatives expanded."""
    tensors = weights.get("tensors")
    result: dict[str, frozenset[str]] = {}
    for key, value in tensors.entries.items() if isinstance(tensors, MappingNode) else ():
        for slot, node in expand_entry(key, value).items():
            result[slot] = frozenset(map(ending, _names(node)))
    return result


def ending(name: str) -> str:
    """Return the part of a name behind the number of the layer, or its last component, without `.weight` or `.bias`."""
    name = _LAYER.sub("{layer}", name).removesuffix(".weight").removesuffix(".bias")
    _, marker, end = name.partition("{layer}.")
    return end if marker else name.rpartition(".")[2]


def _names(node: Node) -> list[str]:
    if isinstance(node, MappingNode):
        source = node.get("from")
        return _names(source) if source is not None else []
    items = node.items if isinstance(node, ListNode) else (node,)
    return [item.value for item in items if isinstance(item, ScalarNode) and isinstance(item.value, str)]
