"""Caches of one size: TensorRT's in-place caches have as many slots as the engine was built for."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.passes import Pass

_AXIS = "capacity"


def fixed_capacity(slots: int) -> Pass:
    """A pass that gives the axis `capacity` that size wherever it occurs; it counts the tensors."""

    def run(model: ir.Model) -> int:
        values = [*model.graph.inputs, *model.graph.outputs]
        values += [output for node in model.graph for output in node.outputs]
        return sum(_fix(value, slots) for value in dict.fromkeys(values))

    return run


def _fix(value: ir.Value, slots: int) -> bool:
    if value.shape is None or _AXIS not in map(str, value.shape):
        return False
    value.shape = ir.Shape([slots if str(size) == _AXIS else size for size in value.shape])
    return True
