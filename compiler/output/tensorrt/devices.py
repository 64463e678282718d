"""Which devices an engine is for, by compute capability."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.package import PACKAGES

# The RTX generations Ampere, Ada and Blackwell. Turing (7.5) takes --compute-capability: its kernels are others.
_RTX = ("8.6", "8.9", "12.0")
_FLOAT8 = (8, 9)  # Ada: the first whose tensor cores multiply them
_MAJOR, _MINOR = 75, 76  # of CUdevice_attribute


def choose_devices(target: str, trt: Any, wanted: Sequence[str]) -> tuple[str, ...]:
    """The compute capabilities that an engine will run on.

    Raises BuildError where there is no device for a package that needs one, or one that the package does not know.
    """
    if not PACKAGES[target].ahead:
        present = device_capability()
        if present is None:
            raise BuildError(
                f"--target {target} builds on the GPU that the engine is for, and no CUDA driver or device was found: "
                "build there, or for RTX GPUs from anywhere with --target tensorrt-rtx"
            )
        if wanted and tuple(wanted) != (present,):
            raise BuildError(f"--compute-capability {', '.join(wanted)}: {target} builds for the GPU here, {present}")
        return (present,)
    members = trt.ComputeCapability.__members__
    known = {_dotted(name): name for name in members if name.startswith("SM")}
    chosen = tuple(dict.fromkeys(wanted)) or _RTX
    for capability in chosen:
        if capability not in known:
            raise BuildError(f"--compute-capability {capability}: {target} knows {', '.join(sorted(known, key=float))}")
    return chosen


def check_float8(capabilities: Sequence[str]) -> None:
    """Raises BuildError for devices whose products take no numbers of 8-bit floating point."""
    old = [capability for capability in capabilities if _numbers(capability) < _FLOAT8]
    if old:
        least = ".".join(map(str, _FLOAT8))
        rest = [capability for capability in capabilities if capability not in old]
        advice = f"name {' and '.join(rest)} alone with --compute-capability, or " if rest else ""
        raise BuildError(
            f"--quantize fp8 is for compute capabilities from {least}, and the engine is also for {', '.join(old)}: "
            f"{advice}choose --quantize int8"
        )


def set_devices(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """Tells a build for several devices which they are."""
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{capability.replace('.', '')}"], index)


def device_capability() -> str | None:
    """The compute capability of CUDA's first device, or None without a driver or a device."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return None
        numbers.append(value.value)
    return ".".join(map(str, numbers))


def _dotted(name: str) -> str:
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"


def _numbers(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
