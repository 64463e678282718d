"""Caches of one size: TensorRT's in-place caches have as many slots as the engine was built for."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import fix_axis

_AXIS = "capacity"


class FixedCapacity(ir.passes.InPlacePass):
    """Replaces the axis `capacity` by a number of slots wherever it occurs; the contract keeps its name."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fix the axis of inputs, outputs and intermediate values."""
        values = [*model.graph.inputs, *model.graph.outputs]
        values += [output for node in model.graph for output in node.outputs]
        fixed = [fix_axis(value, _AXIS, self.slots) for value in dict.fromkeys(values)]
        return ir.passes.PassResult(model, modified=any(fixed))
