"""Caches of one size: TensorRT's in-place caches have as many slots as the engine was built for."""

from __future__ import annotations

import onnx_ir as ir

_AXIS = "capacity"


class FixedCapacity(ir.passes.InPlacePass):
    """Replaces the axis `capacity` by a number of slots wherever it occurs."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fix the axis of inputs, outputs and intermediate values."""
        values = [*model.graph.inputs, *model.graph.outputs]
        values += [output for node in model.graph for output in node.outputs]
        fixed = [self._fix(value) for value in dict.fromkeys(values)]
        return ir.passes.PassResult(model, modified=any(fixed))

    def _fix(self, value: ir.Value) -> bool:
        if value.shape is None or _AXIS not in map(str, value.shape):
            return False
        value.shape = ir.Shape([self.slots if str(size) == _AXIS else size for size in value.shape])
        return True
