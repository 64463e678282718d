"""Attention without the attribute that says in which precision its softmax is computed.

TensorRT has one precision for it, float32, and refuses a node that names any.
"""

from __future__ import annotations

import onnx_ir as ir


def plain_attention(model: ir.Model) -> int:
    """Drops `softmax_precision` from every Attention node; returns how many had it."""
    nodes = [node for node in model.graph if node.op_type == "Attention" and not node.domain]
    return sum(node.attributes.pop("softmax_precision", None) is not None for node in nodes)
