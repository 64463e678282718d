"""Writing plans and ONNX folders: manifest, files, serialized engines."""
