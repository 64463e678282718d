"""The last pass over a graph: equal nodes are merged, unused ones removed, names of inner axes dropped."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


class Clean(ir.passes.InPlacePass):
    """Merges equal nodes (the same shape read in every layer, say) and removes unused ones."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Clean a graph and its subgraphs."""
        before = model.graph.num_nodes()
        common.CommonSubexpressionEliminationPass()(model)
        common.RemoveUnusedNodesPass()(model)
        return ir.passes.PassResult(model, modified=model.graph.num_nodes() < before)


class DropInnerAxisNames(ir.passes.InPlacePass):
    """Removes the names of axes from values between inputs and outputs.

    An input may have one row for a whole batch and broadcast: a runtime that takes equal names for equal sizes would
    share a buffer between values of different sizes. Ranks and fixed sizes stay.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Drop the names in a graph and its subgraphs."""
        ends = {*model.graph.inputs, *model.graph.outputs}
        dropped = False
        for node in model.graph.all_nodes():
            for value in node.outputs:
                if value.shape is not None and value not in ends and not value.shape.is_static():
                    value.shape = ir.Shape([size if isinstance(size, int) else None for size in value.shape])
                    dropped = True
        return ir.passes.PassResult(model, modified=dropped)
