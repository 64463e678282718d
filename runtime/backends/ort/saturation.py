"""Products of uint8 and int8 on processors whose kernels add pairs of them in 16 bits, which saturates.

x86 without VNNI multiplies by vpmaddubsw: two products of 255 · 127 do not fit. `archc.plan.integers` lists the
initializers that are replaced there.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.integers import FULL, SIGN, Replacements, weights_of
from archc.plan.reader import WEIGHTS, Plan
from archc.plan.records import Tensor

_CPUS = Path("/proc/cpuinfo")
_EXACT = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


@dataclass(frozen=True)
class WithoutVnni:
    """A graph whose integer products are exact without VNNI, and the uint8 weights that it reads, by name."""

    model: bytes
    weights: Mapping[str, NDArray[np.uint8]]

    def add_to(self, ort: Any, options: Any) -> None:
        """Add the weights to a session's options; they must live until the session has packed them."""
        if self.weights:
            values = [ort.OrtValue.ortvalue_from_numpy(weight) for weight in self.weights.values()]
            options.add_external_initializers(list(self.weights), values)


def saturates(cpus: Path = _CPUS, machine: str = platform.machine()) -> bool:
    """Return whether the processor may saturate such products; x86 whose instructions are not listed may."""
    if machine.lower() not in ("x86_64", "amd64", "i386", "i686", "x86"):
        return False
    return _EXACT.isdisjoint(_flags(cpus))


def packs(cpus: Path = _CPUS) -> bool:
    """Return whether ONNX Runtime is sure to pack uint8 weights, so that it no longer reads the originals."""
    return "avx2" in _flags(cpus)


def _flags(cpus: Path) -> Sequence[str]:
    try:
        lines = cpus.read_text().splitlines()
    except OSError:
        return ()
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ())


def without_vnni(plan: Plan, graph: str) -> WithoutVnni:
    """Return a graph for processors without VNNI; warn if it is older than the initializers that are replaced."""
    data = plan.read(graph)
    if not any(name.encode() in data for name in FULL):
        if b"MatMulInteger" in data:
            warnings.warn(
                f"{plan.path}: integer products are less accurate on this CPU, which has no VNNI instructions; "
                "build the plan again, with this version of archc",
                stacklevel=2,
            )
        return WithoutVnni(plan.model(graph), {})
    replacements = Replacements(weights_of(plan.manifest.tensors))
    model = plan.model(graph, replacements)
    tensors = [tensor for tensor in plan.manifest.tensors if tensor.name in replacements.found]
    return WithoutVnni(model, _unsigned(plan, tensors) if tensors else {})


def _unsigned(plan: Plan, tensors: Sequence[Tensor]) -> dict[str, NDArray[np.uint8]]:
    weights = {tensor.name: np.empty(tensor.shape, np.uint8) for tensor in tensors}
    with plan.mapped(WEIGHTS) as data:
        for tensor in tensors:
            integers = np.frombuffer(data[tensor.offset : tensor.offset + tensor.bytes], np.uint8)
            np.bitwise_xor(integers.reshape(tensor.shape), np.uint8(SIGN), out=weights[tensor.name])
            del integers  # a view of the mapping, which is closed below
    return weights
