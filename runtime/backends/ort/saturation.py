"""Products of uint8 and int8 on processors whose kernels add pairs of them in 16 bits, which saturates.

x86 without VNNI multiplies by vpmaddubsw: two products of 255 · 127 do not fit. ONNX Runtime's option for precision on
x64 makes constant int8 operands uint8, whose kernel is exact. Operands that the graph computes stay int8, and the uint8
ones next to them get 7 bits instead of 8: two products of 127 · 127 fit.
"""

from __future__ import annotations

import platform
from pathlib import Path

_CPUS = Path("/proc/cpuinfo")
_EXACT = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def saturates(cpus: Path = _CPUS, machine: str = platform.machine()) -> bool:
    """Return whether the processor may saturate such products; x86 whose instructions are not listed may."""
    if machine.lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return False
    try:
        lines = cpus.read_text().splitlines()
    except OSError:
        return True
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return _EXACT.isdisjoint(flags)
