"""The choice of a packing, by quantization_config of config.json, quantize_config.json, or the tensors' names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archc.archspec import read_config
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.weights import Weights
from archc.compiler.weights.packings.awq import find_awq
from archc.compiler.weights.packings.bitsandbytes import find_bitsandbytes
from archc.compiler.weights.packings.compressed_tensors import find_compressed
from archc.compiler.weights.packings.gptq import find_gptq
from archc.compiler.weights.packings.mxfp4 import find_mxfp4
from archc.compiler.weights.packings.packing import PackedWeights, Packing
from archc.compiler.weights.packings.scaled import find_fp8

_FP8 = Packing("FP8", find_fp8)
# By `quant_method`.
_PACKINGS: Mapping[str, Packing] = {
    "fp8": _FP8,
    "fbgemm_fp8": _FP8,
    "mxfp4": Packing("MXFP4", find_mxfp4),
    "gptq": Packing("GPTQ", find_gptq),
    "awq": Packing("AWQ", find_awq),
    "compressed-tensors": Packing("compressed-tensors", find_compressed),
    "bitsandbytes": Packing("bitsandbytes", find_bitsandbytes),
}
# The ends of names by which a packing is recognized where no file names it.
_ENDS: Mapping[str, tuple[str, ...]] = {
    "fp8": (".weight_scale_inv",),
    "mxfp4": ("_proj_blocks",),
    "gptq": (".qweight",),
    "compressed-tensors": (".weight_packed", ".weight_scale"),
    "bitsandbytes": (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4", ".SCB"),
}
# Files of former writers, with the method of those that do not name one.
_FILES: Mapping[str, str] = {"quantize_config.json": "gptq", "quant_config.json": "awq"}


def unpack(weights: Weights, folder: Path) -> Weights:
    """Return a checkpoint's tensors with packed weights widened; the checkpoint itself if none is packed.

    Raises BuildError for a method that is not supported, and for packed tensors that do not fit each other.
    """
    method, config = _read_method(weights, folder)
    if method is None:
        return weights
    packing = _PACKINGS.get(method)
    if packing is None:
        raise BuildError(
            f"{folder}: the quantization method '{method:.60}' is not supported; supported are "
            f"{', '.join(_PACKINGS)}, and unquantized checkpoints"
        )
    packed = packing.find(weights, config)
    return PackedWeights(weights, packed, packing.name) if packed else weights


def _read_method(weights: Weights, folder: Path) -> tuple[str | None, Mapping[str, Any]]:
    """Return the method of a checkpoint and its quantization config; None for no method."""
    config = _read_config(folder)
    if config is None:
        found = [method for method, ends in _ENDS.items() if any(name.endswith(ends) for name in weights.names())]
        return (found[0] if found else None), {}
    method = config.get("quant_method")
    if method is None and (config.get("load_in_8bit") or config.get("load_in_4bit")):
        method = "bitsandbytes"  # whose first files have no quant_method
    if not isinstance(method, str):
        raise BuildError(f"{folder}: quant_method of the quantization config not found; correct config.json")
    return method, config


def _read_config(folder: Path) -> Mapping[str, Any] | None:
    """Return the quantization config of a folder with its quant_method, or None."""
    if (file := folder / "config.json").is_file():
        values = read_config(file)
        nested = [value for value in values.values() if isinstance(value, Mapping)]
        for owner in (values, *nested):
            for key in ("quantization_config", "compression_config"):
                if isinstance(config := owner.get(key), Mapping) and config:
                    return config
    for name, method in _FILES.items():
        if (file := folder / name).is_file():
            return {"quant_method": method, **read_config(file)}
    return None
