"""Folders of `--target onnx-hf` in the runtimes of other projects."""
