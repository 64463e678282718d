"""The matrices of a quantized plan that stay in float, because no block size divides their width."""

from __future__ import annotations

from collections.abc import Iterable

from archc.archspec.errors import format_list
from archc.compiler.errors import BuildError
from archc.compiler.weights.formats.blocks import block_size
from archc.compiler.weights.formats.format import QuantizedTensor
from archc.compiler.weights.lazy import WeightTensor

_SHOWN = 4


def check_coverage(tensors: Iterable[WeightTensor], quantization: str | None) -> str | None:
    """Return a sentence on the matrices [N, K] of a quantized plan that stay in float, or None if there are none.

    Raises BuildError if the plan has no quantized weight at all.
    """
    if quantization is None:
        return None
    parts = [part for tensor in tensors for part in tensor.in_parts()]
    wide = [part for part in parts if not isinstance(part, QuantizedTensor) and len(part.sizes) == 2]
    unfit = [part for part in wide if block_size(part.sizes[1]) is None and ".router." not in part.slot]
    widths = format_list(sorted({part.sizes[1] for part in unfit}))
    if not any(isinstance(part, QuantizedTensor) for part in parts):
        reason = f": no block size divides the widths {widths}" if unfit else ""
        raise BuildError(f"--quantize {quantization}: no weight can be quantized{reason}; build without --quantize")
    if not unfit:
        return None
    names = list(dict.fromkeys(part.slot for part in unfit))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"--quantize {quantization}: {len(names)} matrices stay in float, because no block size divides their widths "
        f"{widths}: {', '.join(names[:_SHOWN])}{more}"
    )
