"""The ONNX Runtime backend: targets ort-cpu and ort-cuda."""
