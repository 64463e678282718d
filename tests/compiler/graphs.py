"""Small graphs for the tests of lowerings and passes, and their results in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.domains import ARCHC, IR_VERSION, OPSET
from archc.compiler.weights.lazy import WeightTensor, join_rows
from archc.plan.integers import WEIGHT_SUFFIX, WITHOUT_VNNI
from archc.runtime.backends.ort.saturation import saturates

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


def replace_integers(proto: onnx.ModelProto) -> None:
    """Give integer products the form that the runtime gives them without VNNI."""
    for item in proto.graph.initializer:
        if item.name in WITHOUT_VNNI:
            item.CopyFrom(numpy_helper.from_array(np.asarray(WITHOUT_VNNI[item.name]), item.name))
        elif item.name.endswith(WEIGHT_SUFFIX) and item.data_type == onnx.TensorProto.INT8:
            unsigned = numpy_helper.to_array(item).astype(np.int16) + 128
            item.CopyFrom(numpy_helper.from_array(unsigned.astype(np.uint8), item.name))


def run(graph_model: ir.Model, feeds: Arrays) -> list[NDArray[Any]]:
    """Every output, by ONNX Runtime on the CPU, in the form that is exact on this one."""
    proto = ir.serde.serialize_model(graph_model)
    if saturates():
        replace_integers(proto)
    serialized = proto.SerializeToString()
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


def attention(heads: int, kv_heads: int, width: int, scale: float, mask: ir.DataType) -> ir.Model:
    """One Attention node as the compiler writes it: a mask, a scale, no flag of causality."""
    inputs = [
        value("q", ir.DataType.FLOAT, "batch", heads, "seq", width),
        value("k", ir.DataType.FLOAT, "batch", kv_heads, "total", width),
        value("v", ir.DataType.FLOAT, "batch", kv_heads, "total", width),
        value("mask", mask, "batch", 1 if mask == ir.DataType.BOOL else heads, "seq", "total"),
    ]
    attributes = {
        "scale": ir.AttrFloat32("scale", scale),
        "is_causal": ir.AttrInt64("is_causal", 0),
        "softmax_precision": ir.AttrInt64("softmax_precision", 1),
    }
    node = ir.Node("", "Attention", inputs, attributes.values(), num_outputs=1, name="attention")
    output = node.outputs[0]
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape(["batch", heads, "seq", width])
    return model(inputs, [node], [output])


def attention_feeds(heads: int, kv_heads: int, width: int, mask: ir.DataType, seq: int = 3, total: int = 7) -> Arrays:
    """Random queries, keys and values; a causal mask, of booleans or of slopes over the key's position."""
    random = np.random.default_rng(heads * 100 + kv_heads)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    seen = np.arange(total) <= np.arange(seq)[:, None] + total - seq
    feeds = {
        "q": normal(2, heads, seq, width),
        "k": normal(2, kv_heads, total, width),
        "v": normal(2, kv_heads, total, width),
    }
    if mask == ir.DataType.BOOL:
        return feeds | {"mask": np.broadcast_to(seen, (2, 1, seq, total)).copy()}
    slopes = np.arange(1, heads + 1, dtype=np.float32)[:, None, None] / heads
    bias = np.where(seen, slopes * np.arange(total, dtype=np.float32), np.finfo(np.float32).min)
    return feeds | {"mask": np.broadcast_to(bias, (2, heads, seq, total)).astype(np.float32)}


def semantic(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    name: str,
    shape: Sequence[int | str],
    dtype: ir.DataType = ir.DataType.FLOAT,
    **attributes: Any,
) -> ir.Node:
    """A node of the domain archc, named like its one output, whose type and shape are known."""
    node = ir.Node(
        ARCHC, op_type, inputs, [ir.convenience.convert_attribute(*pair) for pair in attributes.items()], name=name
    )
    describe(node, name, shape, dtype)
    return node


def describe(node: ir.Node, name: str, shape: Sequence[int | str], dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
    """The first output of a node, with a name, a type and a shape."""
    output = node.outputs[0]
    output.name, output.type, output.shape = name, ir.TensorType(dtype), ir.Shape(shape)
    return output


_FLOATS = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
}


def filled(graph_model: ir.Model, slots: Mapping[str, torch.Tensor]) -> ir.Model:
    """The model with the bytes of its weights, as a plan stores them, from the tensors of these slots."""
    for item in graph_model.graph.initializers.values():
        stored = item.const_value
        if not isinstance(stored, WeightTensor):
            continue
        dtype = _FLOATS.get(stored.dtype, torch.uint8)
        parts = [(part, join_rows([slots[slot] for slot in part.slots])) for part in stored.in_parts()]
        blocks = [block for part, rows in parts for block in part.blocks(rows, dtype)]
        data = b"".join(block.contiguous().view(torch.uint8).numpy().tobytes() for block in blocks)
        assert len(data) == stored.nbytes
        dims = [int(size) for size in stored.shape]
        proto = onnx.TensorProto(name=item.name, data_type=int(stored.dtype), dims=dims, raw_data=data)
        item.const_value = ir.serde.deserialize_tensor(proto)
    return graph_model


def weights_of(graph_model: ir.Model) -> dict[str, WeightTensor]:
    """The streamed weights by name."""
    tensors = {item.name: item.const_value for item in graph_model.graph.initializers.values()}
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, WeightTensor)}
