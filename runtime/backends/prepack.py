"""The choice between packed and memory-mapped weights."""

from __future__ import annotations

from enum import StrEnum


class Prepack(StrEnum):
    """Packing of weights into the layout of the kernels of ONNX Runtime.

    Packed weights are up to twice as fast for calls of a few tokens, but loading takes time and a private copy of the
    weights. Mapped weights load immediately and are shared between processes. Quantized weights must be packed.
    """

    ALWAYS = "always"
    NEVER = "never"
    AUTO = "auto"  #: only where required: quantized weights, and GPUs


PREPACK_DEFAULT = Prepack.ALWAYS
