"""A residual sum and the norm that follows it as one node: the stream is read once instead of twice."""

from __future__ import annotations

import onnx_ir as ir

from archc.compiler.graph.domains import MICROSOFT
from archc.compiler.graph.values import replace_value

_FUSED = {"RMSNormalization": "SkipSimplifiedLayerNormalization", "LayerNormalization": "SkipLayerNormalization"}
_SUM = 3  # the output of a fused node that is the sum itself


class FuseNorms(ir.passes.InPlacePass):
    """Replaces Add → norm by ONNX Runtime's fused node, for streams of the dtypes that a provider has kernels for."""

    def __init__(self, *dtypes: ir.DataType) -> None:
        super().__init__()
        self.dtypes = dtypes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Fuse every pair."""
        graph, fused = model.graph, False
        for node in list(graph):
            total = node.inputs[0].producer() if node.op_type in _FUSED and node.inputs[0] is not None else None
            if total is None or total.op_type != "Add" or not _is_residual(total, self.dtypes) or not _is_plain(node):
                continue
            _fuse(graph, total, node)
            fused = True
        if fused:
            graph.opset_imports[MICROSOFT] = 1
        return ir.passes.PassResult(model, modified=fused)


def _is_residual(node: ir.Node, dtypes: tuple[ir.DataType, ...]) -> bool:
    """Return whether a node adds two streams of one shape and of these dtypes, without broadcasting or a constant."""
    result = node.outputs[0].shape
    if result is None or len(result) != 3 or not isinstance(result[2], int):
        return False
    for value in node.inputs:
        if value is None or value.dtype not in dtypes or value.const_value is not None or value.shape is None:
            return False
        if list(value.shape) != list(result):
            return False
    # An input of the graph may be one that is broadcast, such as positions of one row for a whole batch.
    return all(value is not None and value.producer() is not None for value in node.inputs)


def _is_plain(node: ir.Node) -> bool:
    """Return whether a norm is over the last axis, has a weight of that width and no further outputs."""
    axis = node.attributes.get_int("axis", -1)
    used = [output for output in node.outputs[1:] if output.uses() or output.is_graph_output()]
    weight = node.inputs[1]
    return axis in (-1, 2) and not used and weight is not None and weight.shape is not None and len(weight.shape) == 1


def _fuse(graph: ir.Graph, total: ir.Node, norm: ir.Node) -> None:
    epsilon = norm.attributes.get_float("epsilon", 1e-5)
    fused = ir.Node(
        MICROSOFT,
        _FUSED[norm.op_type],
        [*total.inputs, *norm.inputs[1:]],
        [ir.AttrFloat32("epsilon", epsilon)],
        num_outputs=_SUM + 1,
        name=norm.name,
    )
    for index in (1, 2):
        fused.outputs[index].name = ""
    # At the sum's place: what reads the sum may come before the norm.
    graph.insert_before(total, fused)
    for old, index in ((norm.outputs[0], 0), (total.outputs[0], _SUM)):
        replace_value(old, fused.outputs[index])
    graph.remove(norm, safe=True)
    graph.remove(total, safe=True)
