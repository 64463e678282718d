"""Operator domains and versions of the graphs that archc writes."""

ONNX = ""
"""The standard operators."""

ARCHC = "archc"
"""Operators of our own: they keep the meaning of a component until a target's lowering replaces them."""

MICROSOFT = "com.microsoft"
"""ONNX Runtime's contributed operators."""

OPSET, IR_VERSION = 24, 11
