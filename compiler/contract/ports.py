"""Roles of a graph's inputs, outputs and state, kept on the values themselves.

A port is a JSON object in `ir.Value.metadata_props`. Names, dtypes and shapes are those of the value, so that a pass
which replaces a value or renames an axis changes the contract with it; `describe` reads the manifest's records off the
graph at the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from msgspec import convert, to_builtins

from archc.compiler.contract.dtypes import dtype_name
from archc.compiler.graph.values import dtype_of, shape_of
from archc.plan import records

MODEL, ENCODER, PACKED = "model", "encoder", "packed"
"""Names of graphs: the one that every call runs, an encoder-decoder's encoder, which runs once a sequence, and the one
whose calls have the tokens of many sequences."""

PORT = "archc.port"
GROUP, PIECE = "group", "piece"
"""The key of a port, and its value, for the second group of a packed graph: a piece of one sequence."""
_STATE = "state"
_AXES = "axes"  # names, in the contract, of axes to which the graph gives one size


@dataclass(frozen=True)
class Contract:
    """The manifest's records of one graph's inputs, outputs and state."""

    inputs: Sequence[records.Input]
    outputs: Sequence[records.Output]
    state: Sequence[records.State]


def mark_ports(graph: ir.Graph, contract: Contract) -> None:
    """Write roles, masks and kinds of state on the values that a contract names."""
    inputs, outputs = ({value.name: value for value in values} for values in (graph.inputs, graph.outputs))
    for item in contract.inputs:
        mask = {} if item.mask is None else {"mask": to_builtins(item.mask)}
        mark(inputs[item.name], {"role": item.role, **mask})
    for output in contract.outputs:
        mark(outputs[output.name], {"role": output.role})
    for state in contract.state:
        mark_state_input(inputs[state.input], state.kind, state.output, state.window, state.block)
        if state.output is not None:
            mark(outputs[state.output], {_STATE: state.kind})


def mark_state_input(
    value: ir.Value, kind: str, output: str | None, window: int | None = None, block: int | None = None
) -> None:
    """Write on an input that it holds a state of a kind, which the named output replaces."""
    sizes = {name: size for name, size in (("window", window), ("block", block)) if size is not None}
    mark(value, {_STATE: kind, "output": output} | sizes)


def mark(value: ir.Value, facts: dict[str, Any]) -> None:
    """Replace the port of a value."""
    value.metadata_props[PORT] = json.dumps(facts)


def port(value: ir.Value) -> dict[str, Any]:
    """Return the port of a value; empty without one."""
    facts: dict[str, Any] = json.loads(value.metadata_props.get(PORT, "{}"))
    return facts


def fix_axis(value: ir.Value, axis: str, size: int) -> bool:
    """Give an axis of a value one size; return False if it has no such axis. A port keeps the axis' name."""
    if value.shape is None or axis not in map(str, value.shape):
        return False
    named = {str(index): axis for index, name in enumerate(value.shape) if str(name) == axis}
    value.shape = ir.Shape([size if str(name) == axis else name for name in value.shape])
    if PORT in value.metadata_props:
        facts = port(value)
        mark(value, {**facts, _AXES: {**facts.get(_AXES, {}), **named}})
    return True


def state_kind(value: ir.Value) -> str | None:
    """Return the kind of state that a value holds, or None."""
    kind: str | None = port(value).get(_STATE)
    return kind


def is_mask(value: ir.Value) -> bool:
    """Return whether a value is an attention mask among the graph's inputs."""
    return port(value).get("role") == "mask"


def describe(graph: ir.Graph, group: str | None = None) -> Contract:
    """Return the manifest's records of a graph whose values carry their ports; of one group, if it has two."""
    inputs, outputs = (
        [(value, facts) for value, facts in zip(values, map(port, values), strict=True) if facts.get(GROUP) == group]
        for values in (graph.inputs, graph.outputs)
    )
    return Contract(
        inputs=tuple(convert(_record(value, facts), records.Input) for value, facts in inputs if "role" in facts),
        outputs=tuple(convert(_record(value, facts), records.Output) for value, facts in outputs if "role" in facts),
        state=tuple(_state(value, facts) for value, facts in inputs if _STATE in facts),
    )


def _record(value: ir.Value, facts: dict[str, Any]) -> dict[str, Any]:
    axes = facts.get(_AXES, {})
    sizes = [size if isinstance(size, int) else str(size) for size in shape_of(value)]
    shape = [axes.get(str(index), size) for index, size in enumerate(sizes)]
    own = {name: fact for name, fact in facts.items() if name not in (_AXES, GROUP)}
    return {"name": value.name, "dtype": dtype_name(dtype_of(value)), "shape": shape, **own}


def _state(value: ir.Value, facts: dict[str, Any]) -> records.State:
    record = _record(value, facts)
    return convert({"input": record.pop("name"), "kind": record.pop(_STATE), **record}, records.State)
