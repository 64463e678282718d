"""Builders of ONNX nodes: `op.MatMul(a, b)` makes a node and returns its output.

`op` makes nodes that belong to no graph yet, for tracing. A `GraphBuilder` collects nodes for a graph and interns
constants as its initializers; a `BodyBuilder` builds the body of a Scan, which captures no value of the outer graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from archc.compiler.graph.domains import OPSET

_SPELLED = 8  # numbers of a constant that its name lists; longer ones are named by a digest


class Builder:
    """Makes nodes without a graph; constants are Constant nodes, absent inputs are None."""

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        """Return the function that makes a node of this operator type.

        Raises AttributeError for a name that cannot be an operator's.
        """
        if not op_type[:1].isupper():
            raise AttributeError(op_type)
        return partial(self.node, op_type)

    def node(
        self, op_type: str, *inputs: ir.Value | None, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        """Make a node; return its output, or a tuple of several outputs."""
        last = max((index for index, value in enumerate(inputs) if value is not None), default=-1)
        converted = [ir.convenience.convert_attribute(name, value) for name, value in attributes.items()]
        node = ir.Node(domain, op_type, inputs[: last + 1], converted, num_outputs=outputs)
        self.add(node)
        return node.outputs[0] if outputs == 1 else tuple(node.outputs)

    def add(self, node: ir.Node) -> None:
        """Register a new node; nodes without a graph are found through their outputs."""

    def constant(self, array: NDArray[Any], dtype: ir.DataType | None = None) -> ir.Value:
        """Return a constant with these numbers."""
        value = self.node("Constant", value=ir.tensor(array, dtype=dtype))
        value.type, value.shape = ir.TensorType(value.producer().attributes["value"].value.dtype), ir.Shape(array.shape)
        assert isinstance(value, ir.Value)
        return value

    def ints(self, *values: int) -> ir.Value:
        """Return a constant int64 vector."""
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
        """Return a constant without axes."""
        return self.constant(np.array(value, dtype.numpy()))


class GraphBuilder(Builder):
    """Collects nodes for `graph`, or for a subgraph of it, with names under `name`.

    Constants are initializers of `graph`, or Constant nodes for a body that captures nothing (`closed`).
    """

    def __init__(self, graph: ir.Graph, name: str, closed: bool = False) -> None:
        self.graph, self.name, self.closed = graph, name, closed
        self.nodes: list[ir.Node] = []

    def add(self, node: ir.Node) -> None:
        """Append a node, name it and its outputs, and import its domain."""
        node.name = f"{self.name}.{len(self.nodes)}.{node.op_type}"
        for index, output in enumerate(node.outputs):
            output.name = node.name if len(node.outputs) == 1 else f"{node.name}.{index}"
        if node.domain:
            self.graph.opset_imports.setdefault(node.domain, 1)
        self.nodes.append(node)

    def constant(self, array: NDArray[Any], dtype: ir.DataType | None = None) -> ir.Value:
        """Return a constant with these numbers; equal initializers are one."""
        if self.closed:
            return super().constant(array, dtype)
        return intern_constant(self.graph, ir.tensor(array, dtype=dtype))

    def initializer(self, tensor: ir.TensorProtocol) -> ir.Value:
        """Return the initializer of a tensor; tensors of one name are one initializer."""
        return register_initializer(self.graph, tensor)

    def nested(self, name: str) -> GraphBuilder:
        """Return a builder for a branch or body, which shares the graph's initializers."""
        return GraphBuilder(self.graph, f"{self.name}.{name}")

    def subgraph(self, outputs: Sequence[ir.Value], inputs: Sequence[ir.Value] = ()) -> ir.Graph:
        """Return the collected nodes as a subgraph with these inputs and outputs."""
        return ir.Graph(inputs, outputs, nodes=self.nodes, name=self.name)


class BodyBuilder(GraphBuilder):
    """Builds the body of a Scan: every value it reads is one of its inputs or a constant of its own."""

    def __init__(self, name: str, dtype: ir.DataType) -> None:
        super().__init__(ir.Graph([], [], nodes=[], name=name), name, closed=True)
        self.dtype = dtype
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []

    def input(self, name: str, rank: int) -> ir.Value:
        """Return a new input with that many axes: states first, then scanned inputs."""
        value = ir.Value(name=name, shape=ir.Shape([None] * rank), type=ir.TensorType(self.dtype))
        self.inputs.append(value)
        return value

    def output(self, value: ir.Value, rank: int) -> None:
        """Add an output, in the order of the Scan's outputs."""
        value.shape, value.type = ir.Shape([None] * rank), ir.TensorType(self.dtype)
        self.outputs.append(value)

    def number(self, value: float) -> ir.Value:
        """Return a constant scalar of the body's dtype."""
        return self.scalar(value, self.dtype)

    def split(self, value: ir.Value, sizes: Sequence[int], axis: int = -1) -> Sequence[ir.Value]:
        """Return the parts of known sizes along an axis."""
        parts: Sequence[ir.Value] = self.node("Split", value, self.ints(*sizes), axis=axis, outputs=len(sizes))
        return parts

    def body(self) -> ir.Graph:
        """Return the finished body."""
        return ir.Graph(self.inputs, self.outputs, nodes=self.nodes, opset_imports={"": OPSET}, name=self.name)


op = Builder()


def register_initializer(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """Return the graph's initializer of a tensor, which is registered if its name is new."""
    assert tensor.name is not None
    if tensor.name not in graph.initializers:
        assert isinstance(tensor.shape, ir.Shape)
        value = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.register_initializer(value)
    return graph.initializers[tensor.name]


def intern_constant(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.Value:
    """Return an initializer with the numbers, dtype and shape of a small tensor; equal ones share it."""
    array = tensor.numpy()
    if array.size <= _SPELLED:
        numbers = "_".join(str(number) for number in array.reshape(-1))
    else:
        numbers = hashlib.sha256(array.tobytes()).hexdigest()[:16]
    name = f"constant.{tensor.dtype.name.lower()}.{'x'.join(map(str, array.shape))}.{numbers}"
    return register_initializer(graph, ir.tensor(array, dtype=tensor.dtype, name=name))
