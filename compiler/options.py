"""Build options: target, compute dtype, weight and KV cache quantization; validated before the build starts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from archc.compiler.errors import BuildError
from archc.compiler.targets import TARGETS, Target


@dataclass(frozen=True)
class BuildOptions:
    """The target of a build, its compute dtype, and the quantization of its weights and its KV cache."""

    target: Target
    dtype: str
    quantization: str | None = None
    cache: str | None = None


def choose_options(target: str, dtype: str | None, quantization: str | None, cache: str | None) -> BuildOptions:
    """Return the build options of these names; `dtype` defaults to the first that the target supports.

    Raises BuildError if a name is unknown or not supported by the target.
    """
    if target not in TARGETS:
        raise BuildError(f"target '{target}' is unknown; choose {_either(TARGETS)}")
    chosen = TARGETS[target]
    if dtype is not None:
        _check("dtype", dtype, chosen.dtypes, target)
    options = BuildOptions(chosen, dtype or chosen.dtypes[0], quantization, cache)
    if quantization is not None:
        _check("quantize", quantization, chosen.quantizations, target)
        if options.dtype not in chosen.quantized_dtypes:
            raise BuildError(f"--quantize {quantization} requires float32 activations; remove --dtype {dtype}")
    if cache is not None:
        _check("kv", cache, chosen.caches, target)
        if options.dtype != "float32":
            raise BuildError(f"--kv {cache} requires float32 activations; remove --dtype {dtype}")
    return options


def _check(option: str, value: str, supported: Collection[str], target: str) -> None:
    if value not in supported:
        advice = f"choose {_either(supported)}" if supported else f"remove --{option}"
        raise BuildError(f"--{option} {value} is not supported by target '{target}'; {advice}")


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
