"""The likeliest token as an output: where the logits lie on a device, greedy decoding need not copy them to the host.

`TopK` of one, since it gives the index and the number at once, takes bfloat16 on CUDA where `ArgMax` does not, and
breaks ties as the host does: the first wins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from msgspec import convert

from archc.compiler.graph.nodes import Tape
from archc.plan.manifest import Output

TOKEN, LOGIT = "next_token", "next_logit"


def find_next_token(model: ir.Model, outputs: Sequence[Output]) -> list[Output]:
    """Adds the index [batch, asked] and the logit [batch, asked] of the greatest; gives the outputs with them.

    A graph without logits, or with an empty `asked`, has none: callers ask for at least one.
    """
    described = next((output for output in outputs if output.role == "logits"), None)
    if described is None:
        return list(outputs)
    graph = model.graph
    logits = next(value for value in graph.outputs if value.name == described.name)
    tape = Tape(graph, TOKEN)
    axis = tape.integers(-1)
    values, indices = tape("TopK", logits, tape.integers(1), outputs=2, axis=-1, largest=1, sorted=1)
    found = [(LOGIT, values, logits.dtype), (TOKEN, indices, ir.DataType.INT64)]
    added = []
    for name, value, dtype in found:
        result = tape("Squeeze", value, axis)
        result.name, result.shape = name, ir.Shape(list(described.shape[:-1]))
        result.type = ir.TensorType(dtype)
        kind = described.dtype if name == LOGIT else np.dtype(np.int64).name
        added.append(convert({"name": name, "role": name, "dtype": kind, "shape": described.shape[:-1]}, Output))
    graph.extend(tape.nodes)
    graph.outputs.extend(node.outputs[0] for node in tape.nodes if node.outputs[0].name in (TOKEN, LOGIT))
    return [*outputs, *reversed(added)]
