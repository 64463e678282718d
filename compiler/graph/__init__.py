"""Building and reading onnx_ir graphs."""
