"""The ONNX translation of every torch operator that the exporter does not know: archc's own, and those of torch's that
it would have decomposed first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compiler import operators, recurrences
from compiler.operators import op


def _to(x: Any, dtype: int, non_blocking: bool = False, copy: bool = False, memory_format: Any = None) -> Any:
    return op.Cast(x, to=dtype)


def _detach(x: Any) -> Any:
    return op.Identity(x)


def _square(x: Any) -> Any:
    return op.Mul(x, x)


def _subtract_from(x: Any, other: float) -> Any:
    return op.Sub(op.CastLike(op.Constant(value_float=float(other)), x), x)


_ATEN: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.to.dtype: _to,
    torch.ops.aten.detach_.default: _detach,
    torch.ops.aten.square.default: _square,
    torch.ops.aten.rsub.Scalar: _subtract_from,
}

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    **_ATEN,
    **operators.TRANSLATIONS,
    **recurrences.TRANSLATIONS,
}
