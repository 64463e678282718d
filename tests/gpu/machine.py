"""The GPU of this machine, and what it allows."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_BUFFER = 1 << 30  # bytes: far more than a GPU's cache

_RTX = ("7.5", "8.6", "8.9", "12.0", "12.1")  # what TensorRT for RTX runs on


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    capability: str
    memory: str

    def __str__(self) -> str:
        return f"{self.name}, compute capability {self.capability}, {self.memory}"


def find_gpu() -> Gpu | None:
    """The first GPU of this machine, or None."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        if found.returncode == 0 and found.stdout.strip():
            return Gpu(*(part.strip() for part in found.stdout.splitlines()[0].split(",")))
    torch: Any = import_module("torch")
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability(0)
    memory = torch.cuda.get_device_properties(0).total_memory
    return Gpu(torch.cuda.get_device_name(0), f"{major}.{minor}", f"{memory >> 20} MiB")


def targets_here(gpu: Gpu | None) -> tuple[list[str], dict[str, str]]:
    """The GPU's targets whose packages are installed, and why the others are not to be had."""
    needed = {
        "ort-cuda": ("onnxruntime",),
        "tensorrt": ("tensorrt", "cuda.bindings"),
        "tensorrt-rtx": ("tensorrt_rtx", "cuda.bindings"),
    }
    missing = {target: [name for name in names if not _is_there(name)] for target, names in needed.items()}
    if not missing["ort-cuda"]:
        providers = import_module("onnxruntime").get_available_providers()
        if "CUDAExecutionProvider" not in providers:
            missing["ort-cuda"] = ["onnxruntime-gpu"]
    reasons = {target: f"{', '.join(names)} not installed" for target, names in missing.items() if names}
    if gpu is not None and gpu.capability not in _RTX:
        reasons["tensorrt-rtx"] = f"this GPU's compute capability is {gpu.capability}, and it takes {', '.join(_RTX)}"
    return [target for target in needed if target not in reasons], reasons


def bandwidth() -> float | None:
    """Bytes per second of the GPU's memory, by the best of six copies of 1 GiB in it; None without CUDA in torch."""
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


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
