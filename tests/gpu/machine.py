"""The GPU of this machine, its targets, and its memory bandwidth."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_BUFFER = 1 << 30  # bytes: far more than a GPU's cache

_RTX = ("7.5", "8.6", "8.9", "12.0", "12.1")  # compute capabilities of TensorRT for RTX


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    capability: str
    memory: str

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability}, {self.memory}"


def find_gpu() -> Gpu | None:
    """Return the first GPU of this machine, or None."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return Gpu(*(part.strip() for part in done.stdout.splitlines()[0].split(",")))
    torch: Any = import_module("torch")
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability(0)
    memory = torch.cuda.get_device_properties(0).total_memory
    return Gpu(torch.cuda.get_device_name(0), f"{major}.{minor}", f"{memory >> 20} MiB")


def targets_here(gpu: Gpu | None) -> tuple[list[str], dict[str, str]]:
    """Return the GPU's targets whose packages are installed, and a reason for each of the others."""
    needed = {
        "ort-cuda": ("onnxruntime",),
        "tensorrt": ("tensorrt", "cuda.bindings"),
        "tensorrt-rtx": ("tensorrt_rtx", "cuda.bindings"),
    }
    missing = {target: [name for name in names if not _is_installed(name)] for target, names in needed.items()}
    if not missing["ort-cuda"]:
        providers = import_module("onnxruntime").get_available_providers()
        if "CUDAExecutionProvider" not in providers:
            missing["ort-cuda"] = ["onnxruntime-gpu"]
    reasons = {target: f"{', '.join(names)} not installed" for target, names in missing.items() if names}
    if gpu is not None and gpu.capability not in _RTX:
        reasons["tensorrt-rtx"] = f"this GPU's compute capability is {gpu.capability}; supported: {', '.join(_RTX)}"
    return [target for target in needed if target not in reasons], reasons


def bandwidth() -> float | None:
    """Return the GPU memory's bandwidth in bytes per second, best of six 1 GiB copies; None if torch has no CUDA."""
    torch: Any = import_module("torch")
    if not torch.cuda.is_available():
        return None
    source = torch.ones(_BUFFER, dtype=torch.uint8, device="cuda")
    target, best = torch.empty_like(source), 0.0
    for _ in range(6):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        best = max(best, 2 * _BUFFER / (time.perf_counter() - begin))  # read once, written once
    return best


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
