"""Targets, one file each: a table of lowerings, the passes around them, and the options that they allow."""

from __future__ import annotations

from collections.abc import Mapping

from archc.compiler.targets import onnx_folder, onnx_hf, ort_cpu, ort_cuda, tensorrt
from archc.compiler.targets.target import Choices, Target

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (ort_cpu.TARGET, ort_cuda.TARGET, onnx_folder.TARGET, onnx_hf.TARGET, *tensorrt.TARGETS)
}

__all__ = ["TARGETS", "Choices", "Target"]
