"""The contract of a plan for graphs whose caches grow: what archc's runtime reads in the folder of such a graph.

The runtime keeps caches in slots and feeds masks and write indices; its adapter computes the inputs of the graph from
these. Names of outputs and states are those of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from msgspec.structs import replace

from archc.compiler.contract.inputs_outputs import ROWS
from archc.compiler.contract.ports import ENCODER, MODEL, Contract, port, state_kind
from archc.plan import records

_LENGTHS = records.Input(name="lengths", role="lengths", dtype=ROWS.dtype, shape=ROWS.shape)


def slot_contracts(traced: Mapping[str, Contract], graphs: Sequence[ir.Graph]) -> dict[str, Contract]:
    """Return the contracts of the traced graphs by name, with the names in the graphs of the target.

    Each has the lengths of rows, from which the adapter computes the attention mask.
    """
    *encoders, decoder = graphs
    states = [value for value in decoder.inputs if state_kind(value) is not None]
    pairs = list(zip(traced[MODEL].state, states, strict=True))
    renamed = {state.input: str(value.name) for state, value in pairs}
    contracts = {MODEL: replace_names(traced[MODEL], decoder, [_state(state, value) for state, value in pairs])}
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
