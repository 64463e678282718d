"""Caches of one size: TensorRT's in-place caches have as many slots as the engine was built for."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import fix_axis
from archc.plan.axes import slots_of


class FixedCapacity(ir.passes.InPlacePass):
    """Replaces axes of the slots of caches by their numbers wherever they occur; the contract keeps their names."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fix the axis of inputs, outputs and intermediate values."""
        values = [*model.graph.inputs, *model.graph.outputs]
        values += [output for node in model.graph for output in node.outputs]
        changed = False
        for value in dict.fromkeys(values):
            for axis in dict.fromkeys(map(str, value.shape or ())):
                slots = slots_of(axis, self.slots)
                changed |= slots is not None and fix_axis(value, axis, slots)
        return ir.passes.PassResult(model, modified=changed)
