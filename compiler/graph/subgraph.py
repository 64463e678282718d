"""Graphs inside nodes: the body that a Scan repeats, built operator by operator.

A body captures nothing: everything that it reads is one of its inputs or a constant of its own, so that it can be
copied with its node and needs no names of the graph around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from archc.compiler.graph.opset import OPSET


class Body:
    """A body under construction; `dtype` is that of its floating-point inputs and constants."""

    def __init__(self, name: str, dtype: ir.DataType) -> None:
        self.name, self.dtype = name, dtype
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self._tape = ir.tape.Tape()

    def input(self, name: str, rank: int) -> ir.Value:
        """A new input of that many axes: the state first, then what is scanned."""
        value = ir.Value(name=name, shape=ir.Shape([None] * rank), type=ir.TensorType(self.dtype))
        self.inputs.append(value)
        return value

    def output(self, value: ir.Value, rank: int) -> None:
        """A new output, in the order of the node's."""
        value.shape, value.type = ir.Shape([None] * rank), ir.TensorType(self.dtype)
        self.outputs.append(value)

    def op(self, op_type: str, *inputs: ir.Value, **attributes: int | float | Sequence[int]) -> ir.Value:
        """One operator of one output."""
        converted = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        return self._tape.op(op_type, inputs, {attribute.name: attribute for attribute in converted})

    def split(self, value: ir.Value, sizes: Sequence[int], axis: int = -1) -> Sequence[ir.Value]:
        """Parts of known sizes along an axis."""
        attributes: Mapping[str, ir.Attr] = {"axis": ir.AttrInt64("axis", axis)}
        return self._tape.op_multi_out("Split", [value, self.ints(*sizes)], attributes, num_outputs=len(sizes))

    def ints(self, *values: int) -> ir.Value:
        """A constant int64 vector."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> ir.Value:
        """A constant scalar in the body's dtype."""
        return self.constant(np.array(value, self.dtype.numpy()))

    def constant(self, array: NDArray[np.generic]) -> ir.Value:
        """A constant of the body's own."""
        return self._tape.op("Constant", [], {"value": ir.AttrTensor("value", ir.tensor(array))})

    def graph(self) -> ir.Graph:
        """The finished body."""
        for index, node in enumerate(self._tape.nodes):
            node.name = f"{self.name}.{index}"
            for place, value in enumerate(node.outputs):
                value.name = f"{self.name}.{index}.{place}"
        return ir.Graph(self.inputs, self.outputs, nodes=self._tape.nodes, opset_imports={"": OPSET}, name=self.name)


def copy_attribute(attribute: ir.Attr, prefix: str) -> ir.Attr:
    """The attribute; a body, which belongs to one node, as a copy with names of its own.

    The optimizer of traced parts moves constants of bodies to the graph around them: the copy has them back.
    """
    if attribute.type is not ir.AttributeType.GRAPH:
        return attribute
    body = attribute.as_graph().clone(allow_outer_scope_values=True)
    own = {*body.inputs, *(output for node in body for output in node.outputs)}
    constants: dict[ir.Value, ir.Value] = {}
    for node in list(body):
        for index, value in enumerate(node.inputs):
            if value is None or value in own:
                continue
            assert value.const_value is not None, f"{value.name} is captured by a body and is no constant"
            if value not in constants:
                tensor = ir.AttrTensor("value", value.const_value)
                constant = ir.Node("", "Constant", [], [tensor], name=f"constant.{len(constants)}")
                constant.outputs[0].name = constant.name
                body.insert_before(next(iter(body)), constant)
                constants[value] = constant.outputs[0]
            node.replace_input_with(index, constants[value])
    for node in body:
        node.name = f"{prefix}{node.name}"
    for value in (*body.inputs, *(output for node in body for output in node.outputs)):
        value.name = f"{prefix}{value.name}"
    return ir.AttrGraph(attribute.name, body)
