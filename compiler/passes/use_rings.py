"""Sliding windows in ring buffers: new entries that reach a cache's end continue at its start."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import mark, port
from archc.compiler.contract.rings import Rings
from archc.compiler.graph.domains import ARCHC
from archc.compiler.graph.values import shape_of


class UseRings(ir.passes.InPlacePass):
    """Turns the caches of windowed layers, and the masks over them, into rings."""

    def __init__(self, rings: Rings) -> None:
        super().__init__()
        self.rings = rings

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rename axes, mark ports, and set the mode of the caches' updates."""
        changed = False
        for value in model.graph.inputs:
            facts = port(value)
            if value.name in self.rings.masks and facts.get("mask", {}).get("kind") == "causal":
                window = self.rings.masks[value.name]
                _rename(value, "total", f"live_{window}")
                mark(value, {**facts, "mask": {**facts["mask"], "ring": True}})
                changed = True
            elif value.name in self.rings.states:
                self._use_ring(value, facts, self.rings.states[value.name])
                changed = True
        return ir.passes.PassResult(model, modified=changed)

    def _use_ring(self, past: ir.Value, facts: dict[str, object], window: int) -> None:
        mark(past, {**facts, "state": "ring", "window": window})
        _rename(past, "capacity", f"ring_{window}")
        for node, _ in past.uses():
            assert (node.domain, node.op_type) == (ARCHC, "UpdateCache"), node
            node.attributes["mode"] = ir.AttrString("mode", "circular")
            _rename(node.outputs[0], "capacity", f"ring_{window}")


def _rename(value: ir.Value, old: str, new: str) -> None:
    value.shape = ir.Shape([new if str(size) == old else size for size in shape_of(value)])
