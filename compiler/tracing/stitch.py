"""The portable graphs of a whole model, put together from its traced parts: one, and another of its encoder.

Each distinct kind of layer is traced once and instantiated once a layer, so build time hardly grows with depth.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import from_torch_dtype
from torch import Tensor, nn

from archc.compiler.contract import inputs_outputs
from archc.compiler.contract.cross_layer import given, taken
from archc.compiler.contract.inputs_outputs import encoder_outputs, graph_inputs, graph_outputs, graph_state
from archc.compiler.contract.ports import ENCODER, MODEL, Contract, mark_ports
from archc.compiler.contract.shared_inputs import REAL, mask_type, table_type
from archc.compiler.contract.types import TensorType
from archc.compiler.graph.builder import intern_constant, register_initializer
from archc.compiler.graph.domains import ARCHC, IR_VERSION, OPSET
from archc.compiler.graph.subgraph import copy_attribute
from archc.compiler.modules.attention.cross_attention import CrossAttention
from archc.compiler.modules.model import Model, layer_inputs
from archc.compiler.modules.position.shared_tensors import SINUSOIDS, ntk_scale_name
from archc.compiler.tracing.parts import Part, Piece, trace
from archc.compiler.weights.lazy import StackedWeight, WeightTensor
from archc.compiler.weights.slots import parameter_slots
from archc.plan.manifest import Input, State


@dataclass(frozen=True)
class Stage:
    """One step through the model: a part, the graph's tensors that it reads and gives, and what makes it like others.

    Stages of equal `kind` are traced once.
    """

    kind: Hashable
    name: str
    part: Part
    inputs: tuple[str, ...]
    outputs: Mapping[str, TensorType]


class Assembler:
    """Instantiates pieces in one graph; `values` holds every tensor so far by its name in that graph."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.dtype = model.dtype
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        self.slots = parameter_slots(model)
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET, ARCHC: 1}, name="archc")
        self.values: dict[str, ir.Value] = {}

    def add_input(self, name: str, kind: TensorType) -> None:
        """A new graph input."""
        value = ir.Value(name=name, shape=ir.Shape(kind.shape), type=ir.TensorType(from_torch_dtype(kind.dtype)))
        self.graph.inputs.append(value)
        self.define(name, kind, value)

    def define(self, name: str, kind: TensorType, value: ir.Value) -> None:
        """Gives a tensor its name in this graph."""
        value.name = name
        value.shape, value.type = ir.Shape(kind.shape), ir.TensorType(from_torch_dtype(kind.dtype))
        self.values[name] = value

    def instantiate(self, piece: Piece, stage: Stage) -> None:
        """Adds a copy of a piece that reads the stage's inputs and gives its outputs, with its owner's weights."""
        mapping: dict[ir.Value, ir.Value] = {
            theirs: self.values[name] for theirs, name in zip(piece.inputs, stage.inputs, strict=True)
        }
        for name, theirs in piece.weights.items():
            mapping[theirs] = self.weight(stage.part.owner.get_parameter(name))
        for theirs in piece.constants:
            mapping[theirs] = intern_constant(self.graph, theirs.const_value)
        for node in piece.nodes:
            self.graph.append(_copy_node(node, mapping, f"{stage.name}."))
        for theirs, (name, kind) in zip(piece.outputs, stage.outputs.items(), strict=True):
            self.define(name, kind, mapping[theirs])

    def weight(self, parameter: nn.Parameter) -> ir.Value:
        """The initializer of a parameter of the model."""
        name = self.names[id(parameter)]
        dtype, shape, slots = from_torch_dtype(parameter.dtype), tuple(parameter.shape), self.slots[name]
        alone = slots == (name,)
        tensor = WeightTensor(name, shape, dtype) if alone else StackedWeight(name, slots, shape, dtype)
        return register_initializer(self.graph, tensor)

    def output(self, name: str) -> None:
        """Makes a tensor a graph output."""
        self.graph.outputs.append(self.values[name])


def _copy_node(node: ir.Node, mapping: dict[ir.Value, ir.Value], prefix: str) -> ir.Node:
    copy = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else mapping[value] for value in node.inputs],
        [copy_attribute(attribute, f"{prefix}{node.name}.") for attribute in node.attributes.values()],
        overload=node.overload,
        num_outputs=len(node.outputs),
        version=node.version,
        name=f"{prefix}{node.name}",
        metadata_props={key: text for key, text in node.metadata_props.items() if key.startswith("archc.")},
    )
    for old, new in zip(node.outputs, copy.outputs, strict=True):
        new.name = f"{prefix}{old.name}"
        new.type = old.type
        new.shape = None if old.shape is None else ir.Shape(list(old.shape))
        mapping[old] = new
    return copy


def assemble(model: Model) -> dict[str, ir.Model]:
    """The portable ONNX graphs of a model on the meta device by name, with weights named and not yet there.

    `model` is the one that every call runs; an encoder-decoder has also `encoder`, which runs once a sequence.
    """
    stages = {MODEL: _stages(model)}
    if model.encoder is not None:
        stages[ENCODER] = [*_stages(model.encoder), *_crossed(model)]
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
    inputs, outputs = graph_inputs(spec, model.wiring), graph_outputs(spec, model.dtype)
    contracts = {MODEL: Contract(inputs, outputs, graph_state(spec, model.wiring, model.dtype))}
    if encoder is not None:
        inputs, outputs = graph_inputs(encoder.spec, encoder.wiring), encoder_outputs(spec, model.dtype)
        contracts[ENCODER] = Contract(inputs, outputs, ())
    return contracts


def _type(item: Input | State) -> TensorType:
    dtype = getattr(torch, item.dtype)
    assert isinstance(dtype, torch.dtype)
    return TensorType(dtype, item.shape)


def _stages(model: Model) -> list[Stage]:
    """The steps through one stack."""
    return [*_signals(model), *_score_biases(model), _embedding(model), *_layers(model), _ending(model)]


def _hidden(model: Model) -> TensorType:
    return TensorType(model.dtype, ("batch", "seq", model.spec.embedding.width))


def _signals(model: Model) -> list[Stage]:
    """The shared tables, where there are any."""
    outputs: dict[str, TensorType] = {}
    for name, (rope, head_dim) in model.wiring.ropes.items():
        table = table_type(rope, head_dim, model.dtype)
        outputs |= {f"{name}.cos": table, f"{name}.sin": table}
    for name, (alibi, _) in model.shared_tensors.alibis.items():
        outputs[name] = TensorType(model.dtype, (1, len(alibi.slopes), 1, "total"))
    for name in model.shared_tensors.logns:
        outputs[name] = TensorType(model.dtype, ("batch", 1, "seq", 1))
    for name, buckets in model.wiring.buckets.items():
        outputs[name] = buckets.type
    if model.shared_tensors.sinusoids is not None:
        outputs[SINUSOIDS] = _hidden(model)
    inputs: dict[str, TensorType] = {}
    if model.wiring.real:
        outputs["real_tokens"] = REAL
        inputs |= {"input_ids": inputs_outputs.TOKENS, "lengths": inputs_outputs.ROWS}
    if not outputs:
        return []
    wanted = list(outputs)
    if model.wiring.positions:
        inputs["position_ids"] = inputs_outputs.TOKENS
    if model.wiring.block_positions:
        inputs["block_position_ids"] = inputs_outputs.BLOCKS
    for _, mask in (*model.shared_tensors.alibis.values(), *model.shared_tensors.buckets.values()):
        inputs[mask] = mask_type(model.wiring.masks[mask])
    stretches = model.wiring.stretches if model.cached else {}
    if stretches:
        inputs["write_indices"] = inputs_outputs.ROWS
    for name, kind in stretches.items():
        inputs[inputs_outputs.past_stretch(name)] = kind
        outputs[inputs_outputs.present_stretch(name)] = kind
        wanted.append(ntk_scale_name(name))

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        kept = {name: tensors[inputs_outputs.past_stretch(name)] for name in stretches}
        tables = model.shared_tensors(
            tensors.get("position_ids"), tensors, kept, tensors.get("write_indices"), tensors.get("block_position_ids"),
            tensors.get("input_ids"), tensors.get("lengths"),
        )  # fmt: skip
        return [tables[name] for name in wanted]

    return [Stage("signals", "signals", Part(model.shared_tensors, function, inputs), tuple(inputs), outputs)]


def _score_biases(model: Model) -> list[Stage]:
    """The biases on the scores that layers share, where there are any."""
    wiring = model.wiring
    outputs = {name: wiring.relative_bias_type(name, model.dtype) for name in wiring.relative_biases}
    inputs = {name: wiring.buckets[name].type for name, _ in wiring.relative_biases.values()}
    if not outputs:
        return []

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return list(model.score_biases(tensors).values())

    assert model.relative_bias is not None
    part = Part(model.relative_bias, function, inputs)
    return [Stage("score biases", "score_biases", part, tuple(inputs), outputs)]


def _crossed(model: Model) -> Iterator[Stage]:
    """The keys and values that each of the decoder's layers makes of the encoder's output."""
    assert model.encoder is not None
    inputs = {"hidden_states": _hidden(model.encoder)}
    for index, word in enumerate(model.spec.layers):
        states = inputs_outputs.layer_states(model.spec, index, model.dtype).items()
        outputs = {
            inputs_outputs.past_name(index, name): inputs_outputs.of_source(state)
            for name, state in states
            if state.kind == "cross"
        }
        module = model.layers[index].cross_attention
        assert isinstance(module, CrossAttention)
        part = Part(module, _keys_values(module), inputs)
        yield Stage(("crossed", word.cross_attention), f"crossed.{index}", part, tuple(inputs), outputs)


def _keys_values(module: CrossAttention) -> Callable[[Mapping[str, Tensor]], list[Tensor]]:
    return lambda tensors: list(module.keys_values(tensors["hidden_states"]))


def _embedding(model: Model) -> Stage:
    names = ["input_ids"]
    if model.embedding.positions is not None:
        names.append("position_ids")
    if model.embedding.token_types is not None:
        names.append("token_type_ids")
    inputs = dict.fromkeys(names, inputs_outputs.TOKENS)
    if model.shared_tensors.sinusoids is not None:
        inputs[SINUSOIDS] = _hidden(model)

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        ids = (tensors.get(name) for name in ("position_ids", "token_type_ids", SINUSOIDS))
        return [model.embed(tensors["input_ids"], *ids)]

    part = Part(model.embedding, function, inputs)
    return Stage("embedding", "embedding", part, tuple(inputs), {"embedding.output": _hidden(model)})


def _layers(model: Model) -> Iterator[Stage]:
    """One stage a layer; layers that compute the same share a kind, and so a trace."""
    hidden, flows, model_flows = "embedding.output", dict[str, str](), dict[str, TensorType]()
    for index, word in enumerate(model.spec.layers):
        rows = {"write_indices": inputs_outputs.ROWS} if model.cached and word.attention is not None else {}
        if model.cached and inputs_outputs.layer_needs_lengths(word):
            rows["lengths"] = inputs_outputs.ROWS
        states = inputs_outputs.layer_states(model.spec, index, model.dtype)
        tables = model.wiring.types(index, model.dtype)
        # The part's own names for the stream and the state: layers of one kind differ in the graph's.
        inputs = {"hidden": _hidden(model), **tables, **rows}
        read = {name: flows[name] for name in taken(word)}
        inputs |= {_GIVEN + name: model_flows[name] for name in read}
        inputs |= {_STATE + name: state.tensor for name, state in states.items()}
        outputs = {f"layers.{index}.output": _hidden(model)}
        gives = given(word, model.dtype)
        outputs |= {f"layers.{index}.{name}": kind for name, kind in gives.items()}
        kept = [name for name, state in states.items() if state.kind != "cross"]
        outputs |= {inputs_outputs.present_name(index, name): states[name].tensor for name in kept}
        part = Part(model.layers[index], _layer_function(model, index, tuple(read), (*gives, *kept)), inputs)
        past = (inputs_outputs.past_name(index, name) for name in states)
        yield Stage(word.computation, f"layers.{index}", part, (hidden, *tables, *rows, *read.values(), *past), outputs)
        flows |= {name: f"layers.{index}.{name}" for name in gives}
        model_flows |= gives
        hidden = f"layers.{index}.output"


_STATE, _GIVEN = "state.", "given."


def _layer_function(
    model: Model, index: int, read: tuple[str, ...], made: tuple[str, ...]
) -> Callable[[Mapping[str, Tensor]], list[Tensor]]:
    module, wire = model.layers[index], model.wiring.wires[index]

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        state = {name[len(_STATE) :]: tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
        flows = {name: tensors[_GIVEN + name] for name in read}
        x, present = module(tensors["hidden"], layer_inputs(wire, tensors, flows), state)
        return [x, *(present[name] for name in made)]

    return function


def _ending(model: Model) -> Stage:
    outputs = {output.name: TensorType(model.dtype, output.shape) for output in graph_outputs(model.spec, model.dtype)}
    asked = {"logit_positions": inputs_outputs.ASKED} if "logits" in outputs else {}
    inputs = {"hidden": _hidden(model), **asked}

    def function(tensors: Mapping[str, Tensor]) -> list[Tensor]:
        results = model.end(tensors["hidden"], tensors.get("logit_positions"))
        return [getattr(results, name) for name in outputs]

    modules = {"final_norm": model.final_norm, "head": model.head, "pooler": model.pooler}
    owner = nn.ModuleDict({name: module for name, module in modules.items() if module is not None})
    part = Part(owner, function, inputs)
    return Stage("ending", "ending", part, (f"layers.{len(model.layers) - 1}.output", *asked), outputs)
