"""Tracing parts of a model to pieces of a graph, with weights as inputs.

Weights stay on the meta device throughout, so a trace costs the same whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn

from archc.compiler.contract.types import TensorType
from archc.compiler.graph.builder import op
from archc.compiler.graph.domains import ARCHC, IR_VERSION, OPSET
from archc.compiler.tracing.tracer import Recording


@dataclass(frozen=True)
class Part:
    """A function of named tensors, and the module whose weights it reads."""

    owner: nn.Module
    function: Callable[[Mapping[str, Tensor]], Sequence[Tensor]]
    inputs: Mapping[str, TensorType]


@dataclass(frozen=True)
class Piece:
    """A traced part: nodes in order, inputs, weights by the owner's parameter names, constants and outputs."""

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    weights: dict[str, ir.Value]
    constants: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]


def trace(parts: Sequence[Part]) -> list[Piece]:
    """Return every part as ONNX nodes."""
    return [_trace(part) for part in parts]


def _trace(part: Part) -> Piece:
    model, weights = record(part)
    nodes, leaves = _reach(model.graph)
    return Piece(
        nodes=nodes,
        inputs=tuple(model.graph.inputs[: len(part.inputs)]),
        weights={weights[leaf]: leaf for leaf in leaves if leaf in weights},
        constants=tuple(leaf for leaf in leaves if leaf.const_value is not None),
        outputs=tuple(model.graph.outputs),
    )


def record(part: Part) -> tuple[ir.Model, dict[ir.Value, str]]:
    """Return a part as a graph, whose last inputs are the weights, and the names of these in the owner.

    Raises TraceError if it calls an operator without a translation, or if its operators depend on sizes.
    """
    recording = Recording(part.function, part.inputs)
    names = {id(parameter): name for name, parameter in part.owner.named_parameters()}
    weights = {value: names[id(parameter)] for value, parameter in recording.parameters.items()}
    # Weights are inputs, so that the optimizer never asks for their values.
    graph = ir.Graph([*recording.inputs, *weights], [], nodes=[], opset_imports={"": OPSET, ARCHC: 1}, name="part")
    for value in recording.outputs:
        # An Identity for each output, because one value may be an input or several outputs.
        end = op.Identity(value)
        end.type, end.shape = value.type, value.shape
        graph.outputs.append(end)
    graph.extend(_ordered(graph.outputs))
    model = ir.Model(graph, ir_version=IR_VERSION)
    optimize_ir(model)
    return model, weights


def _ordered(ends: Sequence[ir.Value]) -> list[ir.Node]:
    """Return the nodes that compute the values in topological order, and name them by their index."""
    ordered: dict[ir.Node, None] = {}
    stack = [node for value in reversed(ends) if (node := value.producer()) is not None]
    while stack:
        node = stack[-1]
        before = [source.producer() for source in node.inputs if source is not None]
        missing = [maker for maker in reversed(before) if maker is not None and maker not in ordered]
        if missing:
            stack += missing
        else:
            ordered.setdefault(stack.pop())
    for index, node in enumerate(ordered):
        node.name = f"{node.op_type}.{index}"
        for place, value in enumerate(node.outputs):
            value.name = f"{node.name}.{place}"
    return list(ordered)


def _reach(graph: ir.Graph) -> tuple[tuple[ir.Node, ...], list[ir.Value]]:
    """Return the nodes that compute the outputs, in graph order, and the values that no node computes."""
    needed: set[ir.Node] = set()
    leaves: dict[ir.Value, None] = {}
    stack = list(graph.outputs)
    while stack:
        value = stack.pop()
        node = value.producer()
        if node is None:
            leaves[value] = None
        elif node not in needed:
            needed.add(node)
            stack += [source for source in node.inputs if source is not None]
    return tuple(node for node in graph if node in needed), list(leaves)
