"""Compute capabilities of the GPUs that an engine is built for."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.package import PACKAGES

# The RTX generations Ampere, Ada and Blackwell; Turing (7.5) has other kernels and needs --compute-capability.
_RTX = ("8.6", "8.9", "12.0")
_FLOAT8 = (8, 9)  # Ada: the first generation with tensor cores for float8
_MAJOR, _MINOR = 75, 76  # of CUdevice_attribute


def choose_devices(target: str, trt: Any, requested: Sequence[str]) -> tuple[str, ...]:
    """Return the compute capabilities that an engine is built for.

    Raises BuildError if the package needs a GPU and there is none, or does not know a capability.
    """
    if not PACKAGES[target].ahead_of_time:
        present = device_capability()
        if present is None:
            raise BuildError(
                f"--target {target}: no CUDA driver or device was found, and engines are built on the GPU that runs "
                "them; build there, or for RTX GPUs on any machine with --target tensorrt-rtx"
            )
        if requested and tuple(requested) != (present,):
            raise BuildError(
                f"--compute-capability {', '.join(requested)}: {target} builds for the GPU of this machine, {present}; "
                "leave the option out"
            )
        return (present,)
    members = trt.ComputeCapability.__members__
    known = {_dotted(name): name for name in members if name.startswith("SM")}
    chosen = tuple(dict.fromkeys(requested)) or _RTX
    for capability in chosen:
        if capability not in known:
            raise BuildError(
                f"--compute-capability {capability}: not supported by {target}; choose from "
                f"{', '.join(sorted(known, key=float))}"
            )
    return chosen


def check_float8(capabilities: Sequence[str]) -> None:
    """Raise BuildError for GPUs without tensor cores for 8-bit floating point."""
    older = [capability for capability in capabilities if _numbers(capability) < _FLOAT8]
    if older:
        least = ".".join(map(str, _FLOAT8))
        rest = [capability for capability in capabilities if capability not in older]
        advice = f"choose {' and '.join(rest)} alone with --compute-capability, or " if rest else ""
        raise BuildError(
            f"--quantize fp8: not supported by compute capability {', '.join(older)}, only from {least}; "
            f"{advice}use --quantize int8"
        )


def set_devices(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    """Configure a build for several compute capabilities."""
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(trt.ComputeCapability.__members__[f"SM{capability.replace('.', '')}"], index)


def device_capability() -> str | None:
    """Return the compute capability of the first CUDA device, or None without a driver or a device."""
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
