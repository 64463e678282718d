"""From torch modules to ONNX pieces: each distinct kind of part is exported once, with its weights as inputs.

Weights stay on the meta device throughout, so a trace costs the same whatever the model's size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir
import torch
from onnxscript.optimizer import optimize_ir
from torch import Tensor, nn

from compiler.exporter import export
from compiler.operators import OPSET
from compiler.tensors import TensorType
from compiler.translations import TRANSLATIONS


@dataclass(frozen=True)
class Part:
    """Something to trace: a function of named tensors over the weights of `owner`.

    A part without weights may be traced on the CPU, so that constants it computes keep their numbers.
    """

    owner: nn.Module
    function: Callable[[Mapping[str, Tensor]], Sequence[Tensor]]
    inputs: Mapping[str, TensorType]
    device: str = "meta"


@dataclass(frozen=True)
class Piece:
    """A traced part: its nodes in order, its inputs, its weights by the owner's parameter names, its outputs."""

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    weights: dict[str, ir.Value]
    constants: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]


class _Bundle(nn.Module):
    """Independent parts side by side: one export then serves them all, and its fixed cost is paid once."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self.owners = nn.ModuleList(part.owner for part in parts)
        self.functions = [part.function for part in parts]

    def forward(self, calls: list[dict[str, Tensor]]) -> list[list[Tensor]]:
        return [list(function(call)) for function, call in zip(self.functions, calls, strict=True)]


def trace(parts: Sequence[Part]) -> list[Piece]:
    """Exports every part to ONNX, in one pass; none of them may read what another gives."""
    bundle = _Bundle(parts)
    calls = [{name: kind.example(part.device) for name, kind in part.inputs.items()} for part in parts]
    # A scope for each part: with shared axes, one part would read its sizes off another's inputs.
    dynamic = [{n: kind.dynamic(scope) for n, kind in part.inputs.items()} for scope, part in enumerate(parts)]
    with warnings.catch_warnings(), _QuietLoggers("torch.onnx", "torch.export"):
        warnings.simplefilter("ignore")
        program = torch.export.export(bundle, (calls,), dynamic_shapes={"calls": dynamic}, strict=False)
        # To decompose operators, torch traces the whole program twice more, which is most of an export's time. Nothing
        # is left to decompose: all that components call is in the exporter's list or in TRANSLATIONS.
        program.run_decompositions = lambda _: program
        model = export(program, OPSET, TRANSLATIONS)
    assert program.call_spec.out_spec is not None
    counts = [part.num_leaves for part in program.call_spec.out_spec.children()]
    return _split(model, bundle, parts, counts)


def _split(model: ir.Model, bundle: _Bundle, parts: Sequence[Part], outputs: Sequence[int]) -> list[Piece]:
    """Takes an exported bundle apart again."""
    graph = model.graph
    # Weights become inputs, so that the optimizer never asks for their values.
    parameters = {}
    for name, parameter in bundle.named_parameters(remove_duplicate=False):
        value = graph.initializers.pop(name, None)
        if value is not None:
            value.const_value = None
            graph.inputs.append(value)
            parameters[value] = parameter
    optimize_ir(model)
    given, wanted = iter(graph.inputs), iter(graph.outputs)
    pieces = []
    for part, count in zip(parts, outputs, strict=True):
        names = {id(parameter): name for name, parameter in part.owner.named_parameters()}
        ends = tuple(islice(wanted, count))
        nodes, leaves = _reach(graph, ends)
        pieces.append(
            Piece(
                nodes=nodes,
                inputs=tuple(islice(given, len(part.inputs))),
                weights={names[id(parameters[leaf])]: leaf for leaf in leaves if leaf in parameters},
                constants=tuple(leaf for leaf in leaves if leaf.const_value is not None),
                outputs=ends,
            )
        )
    return pieces


def _reach(graph: ir.Graph, ends: Sequence[ir.Value]) -> tuple[tuple[ir.Node, ...], list[ir.Value]]:
    """The nodes that the given values come from, in graph order, and the values that no node makes."""
    needed: set[ir.Node] = set()
    leaves: dict[ir.Value, None] = {}
    stack = list(ends)
    while stack:
        value = stack.pop()
        node = value.producer()
        if node is None:
            leaves[value] = None
        elif node not in needed:
            needed.add(node)
            stack += [source for source in node.inputs if source is not None]
    return tuple(node for node in graph if node in needed), list(leaves)


class _QuietLoggers:
    """Holds back the exporter's warnings about optional packages, which a user can do nothing with."""

    def __init__(self, *names: str) -> None:
        self.loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
