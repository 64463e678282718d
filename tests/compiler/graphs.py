"""Small graphs for the tests of lowerings and passes, and their results in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, IR_VERSION, OPSET
from archc.compiler.weights.lazy import WeightTensor

Arrays = Mapping[str, NDArray[Any]]


def value(name: str, dtype: ir.DataType, *shape: int | str) -> ir.Value:
    """A graph input."""
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def weight(slot: str, *shape: int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    """An initializer whose bytes come later."""
    tensor = WeightTensor(slot, shape, dtype)
    return ir.Value(name=slot, shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)


def constant(name: str, array: NDArray[Any]) -> ir.Value:
    """An initializer with numbers."""
    tensor = ir.tensor(array, name=name)
    return ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def model(
    inputs: Sequence[ir.Value],
    nodes: Sequence[ir.Node],
    outputs: Sequence[ir.Value],
    initializers: Sequence[ir.Value] = (),
) -> ir.Model:
    """A graph of the portable kind."""
    for node in nodes:
        for index, output in enumerate(node.outputs):
            output.name = output.name or f"{node.name}.{index}"
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=initializers, opset_imports={"": OPSET}, name="test")
    return ir.Model(graph, ir_version=11)


def operators(graph_model: ir.Model) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in graph_model.graph]


def run(graph_model: ir.Model, feeds: Arrays) -> list[NDArray[Any]]:
    """Every output, by ONNX Runtime on the CPU."""
    serialized = ir.serde.serialize_model(graph_model).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    results: list[NDArray[Any]] = onnxruntime.InferenceSession(
        serialized, options, providers=["CPUExecutionProvider"]
    ).run(None, dict(feeds))
    return results


def typed(result: ir.Value, name: str, dtype: ir.DataType, *shape: int | str | None) -> ir.Value:
    """Name a value and write its dtype and shape on it, as the tracer does."""
    result.name, result.type, result.shape = name, ir.TensorType(dtype), ir.Shape(shape)
    return result


def build(
    inputs: Sequence[ir.Value],
    make: Callable[[GraphBuilder], Sequence[ir.Value]],
    initializers: Sequence[ir.Value] = (),
) -> ir.Model:
    """Return a graph of the nodes that `make` builds; it returns the graph's outputs, with types and shapes."""
    graph = ir.Graph(inputs, [], nodes=[], initializers=initializers, opset_imports={"": OPSET, ARCHC: 1}, name="test")
    op = GraphBuilder(graph, "test")
    outputs = make(op)
    graph.extend(op.nodes)
    graph.outputs.extend(outputs)
    return ir.Model(graph, ir_version=IR_VERSION)
