"""The contract of a plan for graphs whose caches grow: what archc's runtime reads in the folder of such a graph.

The runtime keeps caches in slots and feeds masks and write indices; its adapter computes the inputs of the graph from
these. Names of outputs and states are those of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from msgspec.structs import replace

from archc.archspec import BoundSpec
from archc.archspec import vocabulary as words
from archc.compiler.contract.dtypes import dtype_name
from archc.compiler.contract.inputs_outputs import ROWS, layer_states, past_name
from archc.compiler.contract.ports import ENCODER, MODEL, Contract, port, state_kind
from archc.compiler.graph.values import dtype_of, shape_of
from archc.plan import records

_CONVOLVED, _STATE = "recurrence.input", "recurrence.state"
_LENGTHS = records.Input(name="lengths", role="lengths", dtype=ROWS.dtype, shape=ROWS.shape)


def fixed_names(spec: BoundSpec) -> dict[str, str]:
    """Return the names of the inputs of fixed states by those in the traced graph.

    Convolutions and recurrences of hybrids have the names of transformers.js: `past_conv.N`, `past_ssm.N` for
    state-space models, `past_recurrent.N` for others. Other states are named likewise by their names here.
    """
    names = {}
    for index, layer in enumerate(spec.layers):
        known = {_CONVOLVED: "conv", _STATE: "ssm" if _is_state_space(layer.recurrence) else "recurrent"}
        for name, state in layer_states(spec, index, "float32").items():
            if state.kind == "fixed":
                other = name.removeprefix("recurrence.").replace(".", "_")
                names[past_name(index, name)] = f"past_{known.get(name, other)}.{index}"
    return names


def _is_state_space(word: words.Recurrence | None) -> bool:
    """Return whether a recurrence is a state-space model, Mamba or Mamba 2: convolved inputs, and no delta rule."""
    if isinstance(word, words.MatrixState):
        return word.convolution is not None and word.update != "delta"
    return isinstance(word, words.SelectiveScan)


def slot_contracts(traced: Mapping[str, Contract], graphs: Sequence[ir.Graph]) -> dict[str, Contract]:
    """Return the contracts of the traced graphs by name, with the names in the graphs of the target.

    Each has the lengths of rows, from which the adapter computes the attention mask.
    """
    *encoders, decoder = graphs
    states = [value for value in decoder.inputs if state_kind(value) is not None]
    known = len(traced[MODEL].state)
    pairs = list(zip(traced[MODEL].state, states[:known], strict=True))
    added = [_added(value) for value in states[known:]]
    renamed = {state.input: str(value.name) for state, value in pairs}
    named = [_state(state, value) for state, value in pairs]
    contracts = {MODEL: replace_names(traced[MODEL], decoder, [*named, *added])}
    if ENCODER in traced:
        contract = replace_names(traced[ENCODER], encoders[0], [])
        outputs = [replace(output, name=renamed.get(output.name, output.name)) for output in contract.outputs]
        contracts[ENCODER] = Contract(contract.inputs, outputs, [])
    return contracts


def replace_names(contract: Contract, graph: ir.Graph, state: Sequence[records.State]) -> Contract:
    """Return a contract with these states, lengths, and the names that outputs of its roles have in the graph."""
    names: dict[Any, str] = {port(value).get("role"): str(value.name) for value in graph.outputs}
    inputs = [*contract.inputs]
    if all(item.role != "lengths" for item in inputs):
        inputs.append(_LENGTHS)
    return Contract(inputs, [replace(item, name=names.get(item.role, item.name)) for item in contract.outputs], state)


def _state(state: records.State, value: ir.Value) -> records.State:
    """Return a state with the names of a graph's input and of the output that replaces it."""
    name = str(value.name)
    output = None if state.output is None else port(value)["output"]
    return replace(state, input=name, output=output)


def _added(value: ir.Value) -> records.State:
    """Return the record of a state that the graph of the target has in addition to those of the traced one."""
    _, *sizes = shape_of(value)
    shape: tuple[int | str, ...] = ("batch", *(size if isinstance(size, int) else str(size) for size in sizes))
    kind, output = state_kind(value), port(value)["output"]
    assert kind is not None
    return records.State(
        kind=kind, input=str(value.name), output=output, dtype=dtype_name(dtype_of(value)), shape=shape
    )
