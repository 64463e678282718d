"""ONNX operators as functions of values, for tracing."""

from __future__ import annotations

from archc.compiler.graph.builder import Builder, op
from archc.compiler.graph.domains import OPSET

constant, ints, number = op.constant, op.ints, op.scalar

__all__ = ["OPSET", "Builder", "constant", "ints", "number", "op"]
