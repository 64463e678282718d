"""The contract on a graph's values: it is read back as it was written, and every shipped spec's survives the passes."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch

from archc.archspec import BoundSpec, load_spec
from archc.archspec.source.catalog import shipped
from archc.compiler.contract.inputs_outputs import encoder_outputs, graph_inputs, graph_outputs, graph_state
from archc.compiler.contract.ports import (
    ENCODER,
    MODEL,
    PORT,
    Contract,
    describe,
    dtype_name,
    fix_axis,
    is_mask,
    mark,
    mark_ports,
    port,
    state_kind,
)
from archc.compiler.graph.domains import OPSET
from archc.compiler.lower import lower
from archc.compiler.modules.model import meta_model
from archc.compiler.options import choose_options
from archc.plan.dtypes import DTYPES
from archc.plan.records import Input, Mask, Output, State
from tests.compiler.graphs import value

KEYS = ("batch", 1, "seq", "total")
CACHE = ("batch", 2, "capacity", 8)
INPUTS = {
    "token ids": Input("input_ids", "token_ids", "int64", ("batch", "seq")),
    "positions": Input("position_ids", "positions", "int64", ("batch", "seq")),
    "write indices": Input("write_indices", "write_indices", "int64", ("batch",)),
    "block positions": Input("blocks", "block_positions", "int64", ("batch", 2, "seq")),
    "causal mask": Input("mask", "mask", "bool", KEYS, Mask("causal")),
    "mask of a window": Input("mask_5", "mask", "bool", KEYS, Mask("causal", 5)),
    "mask of chunks": Input("mask_6", "mask", "bool", KEYS, Mask("causal", 6, chunked=True)),
    "mask of a ring": Input("mask_7", "mask", "bool", ("batch", 1, "seq", "live_7"), Mask("causal", 7, ring=True)),
    "prefix mask": Input("mask_prefix", "mask", "bool", KEYS, Mask("prefix")),
    "bidirectional mask": Input("mask_both", "mask", "bool", KEYS, Mask("bidirectional", 3)),
    "source mask": Input("mask_source", "mask", "bool", ("batch", 1, 1, "source"), Mask("source")),
    "logit positions": Input("logit_positions", "logit_positions", "int64", ("batch", "asked")),
}
OUTPUTS = {
    "logits": Output("logits", "logits", "float32", ("batch", "asked", 50)),
    "hidden states": Output("hidden", "hidden_states", "float16", ("batch", "seq", 8)),
    "pooled": Output("pooled", "pooled", "bfloat16", ("batch", 8)),
    "cross": Output("cross_key_values.0.key", "cross", "float16", ("batch", 2, "seq", 8)),
    "next token": Output("next_token", "next_token", "int64", ("batch", "asked")),
}
STATES = {
    "kv": State("kv", "past.0.key", "present.0.key", "float16", CACHE),
    "ring": State("ring", "past.1.key", "present.1.key", "float32", ("batch", 2, "ring_5", 8), 5),
    "fixed": State("fixed", "past.2.state", "present.2.state", "float32", ("batch", 3, 8)),
    "block": State("block", "past.5.key", "present.5.key", "float32", ("batch", 1, "capacity_4", 8), block=4),
    "cross": State("cross", "cross.3.key", None, "bfloat16", ("batch", 2, "source", 8)),
    "int8": State("kv", "past.4.key", "present.4.key", "int8", CACHE),
}


def graph_of(contract: Contract) -> ir.Graph:
    """The inputs and outputs of a contract as values without ports, and one of each that it does not name."""
    inputs = [value(item.name, ir.DataType(DTYPES[item.dtype].onnx), *item.shape) for item in contract.inputs]
    inputs += [value(state.input, ir.DataType(DTYPES[state.dtype].onnx), *state.shape) for state in contract.state]
    outputs = [value(item.name, ir.DataType(DTYPES[item.dtype].onnx), *item.shape) for item in contract.outputs]
    outputs += [
        value(state.output, ir.DataType(DTYPES[state.dtype].onnx), *state.shape)
        for state in contract.state
        if state.output is not None
    ]
    unnamed = [value(name, ir.DataType.FLOAT, "batch") for name in ("another.input", "another.output")]
    return ir.Graph([*inputs, unnamed[0]], [*outputs, unnamed[1]], nodes=[], opset_imports={"": OPSET}, name="test")


def round_trip(contract: Contract) -> Contract:
    graph = graph_of(contract)
    assert describe(graph) == Contract((), (), ())
    mark_ports(graph, contract)
    return describe(graph)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_is_read_back(name: str) -> None:
    contract = Contract((INPUTS[name],), (), ())
    assert round_trip(contract) == contract


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_is_read_back(name: str) -> None:
    contract = Contract((), (OUTPUTS[name],), ())
    assert round_trip(contract) == contract


@pytest.mark.parametrize("name", STATES)
def test_a_state_is_read_back(name: str) -> None:
    contract = Contract((), (), (STATES[name],))
    assert round_trip(contract) == contract


def test_a_whole_contract_is_read_back_in_the_order_of_the_graph() -> None:
    contract = Contract(tuple(INPUTS.values()), tuple(OUTPUTS.values()), tuple(STATES.values()))
    assert round_trip(contract) == contract


def test_a_state_s_output_has_the_kind_and_no_role() -> None:
    graph = graph_of(Contract((), (), tuple(STATES.values())))
    mark_ports(graph, Contract((), (), tuple(STATES.values())))
    kinds = {item.name: state_kind(item) for item in graph.outputs}
    assert kinds == {
        "present.0.key": "kv",
        "present.1.key": "ring",
        "present.2.state": "fixed",
        "present.4.key": "kv",
        "present.5.key": "block",
        "another.output": None,
    }
    assert describe(graph).outputs == ()


def test_a_name_that_the_graph_lacks_is_an_error() -> None:
    with pytest.raises(KeyError, match="input_ids"):
        mark_ports(graph_of(Contract((), (), ())), Contract((INPUTS["token ids"],), (), ()))


def test_masks_are_recognized() -> None:
    graph = graph_of(Contract(tuple(INPUTS.values()), (), ()))
    mark_ports(graph, Contract(tuple(INPUTS.values()), (), ()))
    assert [is_mask(item) for item in graph.inputs] == [item.role == "mask" for item in INPUTS.values()] + [False]


@pytest.mark.parametrize("state", ["kv", "ring"])
def test_a_fixed_axis_keeps_its_name_in_the_contract(state: str) -> None:
    contract = Contract((INPUTS["causal mask"],), (OUTPUTS["logits"],), (STATES[state],))
    axis = str(STATES[state].shape[2])
    graph = graph_of(contract)
    mark_ports(graph, contract)
    past = graph.inputs[1]
    assert fix_axis(past, axis, 24)
    assert str(past.shape) == "[batch,2,24,8]"
    assert describe(graph) == contract
    assert not fix_axis(past, axis, 48)
    assert str(past.shape) == "[batch,2,24,8]"


def test_every_axis_of_a_name_is_fixed_and_several_keep_their_names() -> None:
    contract = Contract((Input("mask", "mask", "bool", ("seq", 1, "seq", "total"), Mask("causal")),), (), ())
    graph = graph_of(contract)
    mark_ports(graph, contract)
    mask = graph.inputs[0]
    assert fix_axis(mask, "seq", 4)
    assert fix_axis(mask, "total", 9)
    assert str(mask.shape) == "[4,1,4,9]"
    assert describe(graph) == contract


def test_an_axis_of_a_value_without_a_port_is_fixed_without_one() -> None:
    inner, unknown = value("inner", ir.DataType.FLOAT, "batch", "capacity"), ir.Value(name="unknown")
    assert fix_axis(inner, "capacity", 24)
    assert (str(inner.shape), PORT in inner.metadata_props) == ("[batch,24]", False)
    assert not fix_axis(inner, "total", 24)
    assert not fix_axis(unknown, "capacity", 24)


def test_marking_replaces_the_port() -> None:
    x = value("x", ir.DataType.FLOAT, "batch")
    assert port(x) == {}
    mark(x, {"role": "mask", "mask": {"kind": "causal"}})
    mark(x, {"role": "lengths"})
    assert port(x) == {"role": "lengths"}


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_of_the_plan_has_its_name(name: str) -> None:
    assert dtype_name(ir.DataType(DTYPES[name].onnx)) == name


def test_the_contract_follows_names_and_dtypes_of_values() -> None:
    contract = Contract((), (), (STATES["kv"],))
    graph = graph_of(contract)
    mark_ports(graph, contract)
    graph.inputs[0].type = ir.TensorType(ir.DataType.INT8)
    graph.inputs[0].name = "renamed"
    (state,) = describe(graph).state
    assert (state.input, state.dtype) == ("renamed", "int8")


def preset(family: str) -> BoundSpec:
    """A shipped spec with its first preset, or with the defaults of its config."""
    spec = load_spec(family)
    size = next(iter(spec.sizes), None)
    return spec.bind({} if size is None else None, size)


def check_portable_graphs(spec: BoundSpec, dtype: str) -> None:
    model = meta_model(spec, getattr(torch, dtype))
    lowered = lower(model, choose_options("onnx", dtype, None, None), spec.context)
    contracts = {
        MODEL: (
            graph_inputs(spec, model.shared_inputs),
            graph_outputs(spec, model.dtype_name),
            graph_state(spec, model.shared_inputs, model.dtype_name),
        )
    }
    if model.encoder is not None:
        inputs = graph_inputs(model.encoder.spec, model.encoder.shared_inputs)
        contracts[ENCODER] = (inputs, encoder_outputs(spec, model.dtype_name), [])
    assert lowered.contracts.keys() == contracts.keys()
    for name, (inputs, outputs, state) in contracts.items():
        described = lowered.contracts[name]
        assert list(described.inputs) == inputs
        assert list(described.outputs) == outputs
        assert list(described.state) == state
        graph = lowered.graphs[name].graph
        assert [item.name for item in graph.inputs] == [*(i.name for i in inputs), *(s.input for s in state)]
        ends = [*(item.name for item in outputs), *(item.output for item in state if item.output is not None)]
        assert [item.name for item in graph.outputs] == ends


@pytest.mark.parametrize("family", shipped())
def test_the_portable_graph_has_the_contract_of_the_spec(family: str) -> None:
    check_portable_graphs(preset(family), "float32")


@pytest.mark.parametrize("family", ["llama", "rwkv6", "jamba", "t5", "bert"])
def test_a_graph_in_float16_has_the_contract_of_the_spec(family: str) -> None:
    """Recurrent states stay in float32."""
    check_portable_graphs(preset(family), "float16")
