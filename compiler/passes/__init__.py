"""Passes over a whole graph, one a file: `onnx_ir.passes.InPlacePass` classes with their options as arguments."""
