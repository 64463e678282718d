"""The ONNX translation of every torch operator that components call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archc.compiler.ops import latent_attention, operators, recurrences
from archc.compiler.tracing.aten import ATEN

TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    **ATEN,
    **operators.TRANSLATIONS,
    **latent_attention.TRANSLATIONS,
    **recurrences.TRANSLATIONS,
}
