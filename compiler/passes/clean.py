"""Removes what the other passes left over, and computes once what is asked for twice."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common


def clean(model: ir.Model) -> int:
    """Merges equal nodes (the same shape read in every layer, say) and drops unused ones; returns how many went."""
    before = model.graph.num_nodes()
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    return before - model.graph.num_nodes()
