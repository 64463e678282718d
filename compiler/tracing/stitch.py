"""The graphs of a whole model, assembled from its traced parts: the main one, and an encoder's.

Each distinct kind of layer is traced once and instantiated once a layer, so build time hardly grows with depth.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.tensor_adapters import from_torch_dtype
from torch import nn

from archc.compiler.contract.dtypes import ir_dtype
from archc.compiler.contract.inputs_outputs import encoder_outputs, graph_inputs, graph_outputs, graph_state
from archc.compiler.contract.ports import ENCODER, MODEL, Contract, mark_ports
from archc.compiler.contract.types import TensorType
from archc.compiler.graph.builder import intern_constant, register_initializer
from archc.compiler.graph.domains import ARCHC, IR_VERSION, OPSET
from archc.compiler.graph.subgraph import copy_node
from archc.compiler.modules.model import Model
from archc.compiler.tracing.parts import Piece, trace
from archc.compiler.tracing.stages import Stage, cross_stages, stages_of
from archc.compiler.weights.lazy import StackedWeight, WeightTensor
from archc.compiler.weights.slots import parameter_slots
from archc.plan.records import Input, State


class Assembler:
    """Instantiates pieces in one graph; `values` has every tensor of the graph by name."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.dtype = model.dtype
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.slots = parameter_slots(model)
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, ARCHC: 1}, name="archc")
        self.values: dict[str, ir.Value] = {}

    def add_input(self, name: str, kind: TensorType) -> None:
        """Add a graph input."""
        value = ir.Value(name=name, shape=ir.Shape(kind.shape), type=ir.TensorType(ir_dtype(kind.dtype)))
        self.graph.inputs.append(value)
        self.define(name, kind, value)

    def define(self, name: str, kind: TensorType, value: ir.Value) -> None:
        """Name a tensor of the graph, and set its type and shape."""
        value.name = name
        value.shape, value.type = ir.Shape(kind.shape), ir.TensorType(ir_dtype(kind.dtype))
        self.values[name] = value

    def instantiate(self, piece: Piece, stage: Stage) -> None:
        """Append a copy of a piece between the inputs and outputs of a stage, with the weights of its owner."""
        mapping: dict[ir.Value, ir.Value] = {
            value: self.values[name] for value, name in zip(piece.inputs, stage.inputs, strict=True)
        }
        for name, value in piece.weights.items():
            mapping[value] = self.weight(stage.part.owner.get_parameter(name))
        for value in piece.constants:
            assert value.const_value is not None
            mapping[value] = intern_constant(self.graph, value.const_value)
        for node in piece.nodes:
            self.graph.append(copy_node(node, mapping, f"{stage.name}."))
        for value, (name, kind) in zip(piece.outputs, stage.outputs.items(), strict=True):
            self.define(name, kind, mapping[value])

    def weight(self, parameter: nn.Parameter) -> ir.Value:
        """Return the initializer of a parameter of the model."""
        name = self.names[id(parameter)]
        dtype, shape, slots = from_torch_dtype(parameter.dtype), tuple(parameter.shape), self.slots[name]
        alone = slots == (name,)
        tensor = WeightTensor(name, shape, dtype) if alone else StackedWeight(name, slots, shape, dtype)
        return register_initializer(self.graph, tensor)

    def output(self, name: str) -> None:
        """Make a tensor a graph output."""
        self.graph.outputs.append(self.values[name])


def assemble(model: Model) -> dict[str, ir.Model]:
    """Return the graphs of a model on the meta device by name; weights are initializers without bytes.

    Every call runs `model`; an encoder-decoder has also `encoder`, which runs once a sequence.
    """
    stages = {MODEL: stages_of(model)}
    if model.encoder is not None:
        stages[ENCODER] = [*stages_of(model.encoder), *cross_stages(model)]
    distinct = {(name, stage.kind): stage.part for name in stages for stage in reversed(stages[name])}
    pieces = dict(zip(distinct, trace(list(distinct.values())), strict=True))
    graphs = {}
    for name, ends in _contracts(model).items():
        build = Assembler(model)
        for item in ends.inputs:
            build.add_input(item.name, _type(item))
        for state in ends.state:
            build.add_input(state.input, _type(state))
        for stage in stages[name]:
            build.instantiate(pieces[name, stage.kind], stage)
        for output in (*(item.name for item in ends.outputs), *(state.output for state in ends.state)):
            if output is not None:
                build.output(output)
        mark_ports(build.graph, ends)
        graphs[name] = ir.Model(build.graph, ir_version=IR_VERSION, producer_name="archc")
    return graphs


def _contracts(model: Model) -> dict[str, Contract]:
    """Return the inputs, outputs and state of each graph before any pass."""
    spec, encoder = model.spec, model.encoder
    inputs, outputs = graph_inputs(spec, model.shared_inputs), graph_outputs(spec, model.dtype_name)
    contracts = {MODEL: Contract(inputs, outputs, graph_state(spec, model.shared_inputs, model.dtype_name))}
    if encoder is not None:
        inputs, outputs = graph_inputs(encoder.spec, encoder.shared_inputs), encoder_outputs(spec, model.dtype_name)
        contracts[ENCODER] = Contract(inputs, outputs, ())
    return contracts


def _type(item: Input | State) -> TensorType:
    return TensorType(item.dtype, item.shape)
