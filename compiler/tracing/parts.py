"""From torch modules to ONNX pieces: each distinct kind of part is traced once, with its weights as inputs.

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
    """Something to trace: a function of named tensors over the weights of `owner`."""

    owner: nn.Module
    function: Callable[[Mapping[str, Tensor]], Sequence[Tensor]]
    inputs: Mapping[str, TensorType]


@dataclass(frozen=True)
class Piece:
    """A traced part: its nodes in order, its inputs, its weights by the owner's parameter names, its outputs."""

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    weights: dict[str, ir.Value]
    constants: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]


def trace(parts: Sequence[Part]) -> list[Piece]:
    """Every part as ONNX nodes; parts know nothing of each other."""
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
    """A part as a graph of its own, whose last inputs are the weights, and their names in the owner.

    Raises TraceError if it calls what has no translation, or computes something else for other sizes.
    """
    recording = Recording(part.function, part.inputs)
    names = {id(parameter): name for name, parameter in part.owner.named_parameters()}
    weights = {value: names[id(parameter)] for value, parameter in recording.parameters.items()}
    # Weights are inputs, so that the optimizer never asks for their values.
    graph = ir.Graph([*recording.inputs, *weights], [], nodes=[], opset_imports={"": OPSET, ARCHC: 1}, name="part")
    for value in recording.outputs:
        # A value of its own for each output, also where it is an input or another output.
        end = op.Identity(value)
        end.type, end.shape = value.type, value.shape
        graph.outputs.append(end)
    graph.extend(_ordered(graph.outputs))
    model = ir.Model(graph, ir_version=IR_VERSION)
    optimize_ir(model)
    return model, weights


def _ordered(ends: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes that the given values come from, each after those that it reads; named by their place."""
    ordered: dict[ir.Node, None] = {}
    stack = [node for value in reversed(ends) if (node := value.producer()) is not None]
    while stack:
        node = stack[-1]
        before = [source.producer() for source in node.inputs if source is not None]
        missing = [made for made in reversed(before) if made is not None and made not in ordered]
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
    """The nodes that the outputs come from, in graph order, and the values that no node makes."""
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
