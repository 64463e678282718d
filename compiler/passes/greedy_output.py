"""The token with the largest logit as an output: logits on a device need not be copied to the host for greedy decoding.

`TopK` of one, because it returns index and value at once, accepts bfloat16 on CUDA where `ArgMax` does not, and breaks
ties as the host does: the first wins.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.contract.ports import mark, port
from archc.compiler.graph.builder import GraphBuilder
from archc.compiler.graph.values import dtype_of, shape_of

TOKEN, LOGIT = "next_token", "next_logit"


class GreedyOutput(ir.passes.InPlacePass):
    """Adds the index [batch, asked] and the value [batch, asked] of the largest logit to a graph that has logits.

    A call with an empty `asked` has none: callers ask for at least one.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Add both outputs."""
        graph = model.graph
        logits = next((value for value in graph.outputs if port(value).get("role") == "logits"), None)
        if logits is None:
            return ir.passes.PassResult(model, modified=False)
        op = GraphBuilder(graph, TOKEN)
        values, indices = op.TopK(logits, op.ints(1), outputs=2, axis=-1, largest=1, sorted=1)
        for name, value, dtype in ((TOKEN, indices, ir.DataType.INT64), (LOGIT, values, dtype_of(logits))):
            output = op.Squeeze(value, op.ints(-1))
            output.name, output.type, output.shape = name, ir.TensorType(dtype), ir.Shape(shape_of(logits)[:-1])
            mark(output, {"role": name})
            graph.outputs.append(output)
        graph.extend(op.nodes)
        return ir.passes.PassResult(model, modified=True)
