"""The onnxruntime package, and the execution provider of each target."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from archc.error import install_hint
from archc.runtime.errors import BackendError

# Target: execution provider, device, and the extra that installs it.
PROVIDERS = {
    "ort-cpu": ("CPUExecutionProvider", "cpu", "cpu"),
    "ort-cuda": ("CUDAExecutionProvider", "cuda", "gpu"),
    "onnx": ("CPUExecutionProvider", "cpu", "cpu"),
}


def import_onnxruntime(extra: str) -> Any:
    """Return the onnxruntime module without its telemetry; the environment's ORT_DISABLE_TELEMETRY=0 leaves it on.

    Raises BackendError if no package of that name, or two of them, are installed.
    """
    spec = find_spec("onnxruntime")
    # The metadata folders are listed directly, because importlib.metadata takes longer to import than this module.
    folders = [Path(folder).parent for folder in spec.submodule_search_locations or ()] if spec is not None else []
    if any(
        any(folder.glob("onnxruntime_gpu-*.dist-info")) and any(folder.glob("onnxruntime-*.dist-info"))
        for folder in folders
    ):
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            f"run pip uninstall -y onnxruntime onnxruntime-gpu, then install one, {install_hint(extra)}"
        )
    # Since 1.32, the package sends usage data on Linux unless this is set before its first import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        ort = import_module("onnxruntime")
    except ImportError as error:
        raise BackendError(f"ONNX Runtime cannot be imported ({error}); install it, {install_hint(extra)}") from None
    if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
        ort.disable_telemetry_events()  # also if another module has imported it before
    return ort


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX Runtime, or its type if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
