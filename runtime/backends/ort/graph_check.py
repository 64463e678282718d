"""Comparison of a loaded graph with the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Manifest
from archc.plan.records import Encoder, Packed, Shape
from archc.runtime.errors import PlanError


def check_graph(manifest: Manifest | Encoder | Packed, session: Any, where: str) -> None:
    """Raise PlanError unless the session's inputs and outputs have the manifest's names, types and shapes."""
    state = () if isinstance(manifest, Encoder) else manifest.state
    inputs = {i.name: (i.dtype, i.shape) for i in manifest.inputs} | {s.input: (s.dtype, s.shape) for s in state}
    outputs = {o.name: (o.dtype, o.shape) for o in manifest.outputs}
    outputs |= {s.output: (s.dtype, s.shape) for s in state if s.output is not None}
    for kind, declared, nodes in (
        ("input", inputs, session.get_inputs()),
        ("output", outputs, session.get_outputs()),
    ):
        actual = {node.name: node for node in nodes}
        if mismatched := sorted(declared.keys() ^ actual.keys()):
            raise PlanError(
                f"{where}: {kind} {mismatched[0]!r}: expected in both graph and manifest; build the plan again"
            )
        for name, (dtype, shape) in declared.items():
            node = actual[name]
            if not _is_same(dtype, shape, node.type, node.shape, kind == "input"):
                raise PlanError(
                    f"{where}: {kind} {name!r}: {dtype} {list(shape)} in the manifest, but {node.type} "
                    f"{list(node.shape)} in the graph; build the plan again"
                )


def _is_same(dtype: str, shape: Shape, ort_type: str, dims: Sequence[Any], is_input: bool) -> bool:
    """Return whether types and sizes agree; a named size of an output passes, as shape inference may be partial."""
    agree = ort_type == DTYPES[dtype].ort and len(dims) == len(shape)
    for declared, actual in zip(shape, dims, strict=False):
        agree &= declared == actual if isinstance(actual, int) else not (isinstance(declared, int) and is_input)
    return agree
