"""What depends on one weight alone becomes part of that weight.

A projection matrix transposed or cut into heads, and a norm weight with a constant added, are computed once, while the
weight is streamed, instead of at every load (where ONNX Runtime would hold both forms in memory) or at every call.
"""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.weights.lazy import Offset, Stacked, Step, Transposed, WeightTensor
from archc.compiler.weights.uses import drop_unused, register


def fold_weights(model: ir.Model) -> int:
    """Replaces Transpose(weight), Reshape(weight) into a stack of matrices and Add(weight, scalar) by initializers.

    Returns how many nodes went.
    """
    graph = model.graph
    folded = 0
    for node in list(graph):
        found = _step(node)
        if found is None:
            continue
        source, step = found
        output = node.outputs[0]
        ir.convenience.replace_all_uses_with(output, register(graph, source.then(step)))
        graph.remove(node, safe=True)
        folded += 1
    drop_unused(graph)
    return folded


def _step(node: ir.Node) -> tuple[WeightTensor, Step] | None:
    """The weight that a node reads and what it does to it, where it does nothing else."""
    weights = [v.const_value for v in node.inputs if v is not None and isinstance(v.const_value, WeightTensor)]
    if len(weights) != 1:
        return None
    weight = weights[0]
    rank = len(weight.shape)
    last_two_swapped = [*range(rank - 2), rank - 1, rank - 2]
    if node.op_type == "Transpose" and list(node.attributes["perm"].as_ints()) == last_two_swapped:
        return weight, Transposed()
    if node.op_type == "Reshape" and rank == 2:
        wanted = node.inputs[1].const_value if node.inputs[1] is not None else None
        shape = [] if wanted is None else [int(size) for size in wanted.numpy()]
        if len(shape) == 3 and shape[0] and tuple(shape) == Stacked(shape[0]).shape(tuple(map(int, weight.shape))):
            return weight, Stacked(shape[0])
    if node.op_type == "Add":
        other = next(v for v in node.inputs if v is not None and v.const_value is not weight)
        constant = other.const_value
        if constant is not None and not isinstance(constant, WeightTensor) and constant.size == 1:
            return weight, Offset(float(constant.numpy().reshape(())))
    return None
