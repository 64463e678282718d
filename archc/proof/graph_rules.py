"""Rules of a portable graph: standard operators, state updated in place, explicit masks, scales and casts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, GraphProto, NodeProto

from archc.proof.failure import require

OPSET, IR_VERSION = 24, 11
ALLOWED = frozenset({
    "Add", "Attention", "Cast", "Ceil", "Clip", "Concat", "Constant", "Cos", "Div", "Equal", "Erf", "Exp", "Expand",
    "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity",
    "LayerNormalization", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "RMSNormalization", "Range",
    "ReduceMax", "ReduceSum", "Relu", "Reshape", "RotaryEmbedding", "Scan", "Shape", "Sigmoid", "Sin", "Slice",
    "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "TensorScatter", "TopK", "Transpose",
    "Unsqueeze", "Where",
})  # fmt: skip

GROWING = re.compile(r"(past_key_values|present)\.\d+\.((compressed\.)?(indexer\.)?key|value|latent)")


def check_graph(path: Path) -> None:
    """Check every rule on a graph file whose weights are in the same folder. Raises CheckError."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    require(model.ir_version <= IR_VERSION, f"IR version {model.ir_version}, expected at most {IR_VERSION}")
    opsets = [(item.domain, item.version) for item in model.opset_import]
    require(opsets == [("", OPSET)], f"operator sets {opsets}, expected {OPSET} of ONNX alone")
    require(not model.functions, "the graph has functions")
    nodes = list(_every_node(model.graph))
    require({node.domain for node in nodes} == {""}, "operators of another domain than ONNX")
    others = sorted({node.op_type for node in nodes} - ALLOWED)
    require(not others, f"operators that are not among the portable ones: {others}")
    for node in nodes:
        require(node.op_type == "Scan" or not _bodies(node), f"{node.name} has a graph as attribute")
        if node.op_type == "Attention":
            _check_attention(node)
        if node.op_type == "Cast":
            require(bool(attribute(node, "to")), f"{node.name} casts to no type")
    _check_state(model)


def _every_node(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of the bodies of its Scan nodes."""
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from _every_node(body)


def _bodies(node: NodeProto) -> list[GraphProto]:
    return [a.g for a in node.attribute if a.type == AttributeProto.GRAPH] + [
        g for a in node.attribute for g in a.graphs
    ]


def _check_attention(node: NodeProto) -> None:
    require(len(node.input) >= 4 and bool(node.input[3]), f"{node.name} reads no mask")
    require(not attribute(node, "is_causal"), f"{node.name} implies causality")
    require(attribute(node, "scale") is not None, f"{node.name} implies its scale")


def _check_state(model: onnx.ModelProto) -> None:
    """Check that every present key and value is the past one after a TensorScatter, so that both may share memory."""
    inputs = {value.name for value in model.graph.input}
    producers = {output: node for node in model.graph.node for output in node.output}
    presents = [value.name for value in model.graph.output if GROWING.fullmatch(value.name)]
    pasts = {name for name in inputs if GROWING.fullmatch(name)}
    kinds = {producers[name].op_type for name in presents}
    require(kinds <= {"TensorScatter"}, f"state is updated by {sorted(kinds)}, expected TensorScatter")
    updates = {name: producers[name].input[0] for name in presents}
    expected = {past.replace("past_key_values.", "present."): past for past in pasts}
    require(updates == expected, f"state is updated from {updates}, expected {expected}")


def attribute(node: NodeProto, name: str) -> object:
    """Return the value of a node's attribute, or None."""
    return next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name), None)
