"""What a plan is built for, and how numbers are stored in it: checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass

from archc.compiler.errors import BuildError
from archc.compiler.targets import TARGETS, Target


@dataclass(frozen=True)
class Form:
    """A target, the dtype it computes in, the quantisation of weights and of the cache where there is one."""

    target: Target
    dtype: str
    quantization: str | None = None
    cache: str | None = None


def choose_form(target: str, dtype: str | None, quantization: str | None, cache: str | None) -> Form:
    """The form of these names; the dtype is by default the first that the target has.

    Raises BuildError where one is unknown, or the target has it not.
    """
    if target not in TARGETS:
        raise BuildError(f"target '{target}' is not known; this archc builds {', '.join(TARGETS)}")
    place = TARGETS[target]
    if dtype is not None and dtype not in place.dtypes:
        raise BuildError(f"target '{target}' does not run {dtype}: choose {' or '.join(place.dtypes)}")
    form = Form(place, dtype or place.dtypes[0], quantization, cache)
    if quantization is not None and quantization not in place.quantizations:
        known = " or ".join(place.quantizations)
        raise BuildError(
            f"target '{target}' has no quantisation '{quantization}'" + (f": choose {known}" if known else "")
        )
    if quantization is not None and form.dtype not in place.quantized_dtypes:
        raise BuildError(
            f"--quantize {quantization} computes in float32 beside the integers: leave out --dtype {dtype}"
        )
    if cache is not None and cache not in place.caches:
        known = " or ".join(place.caches)
        raise BuildError(f"target '{target}' has no --kv '{cache}'" + (f": choose {known}" if known else ""))
    if cache is not None and form.dtype != "float32":
        raise BuildError(f"--kv {cache} computes in float32 beside the integers: leave out --dtype {dtype}")
    return form
