"""The ONNX translation of every torch operator that components call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compiler import latent_operators, operators, recurrences
from compiler.aten import ATEN

TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    **ATEN,
    **operators.TRANSLATIONS,
    **latent_operators.TRANSLATIONS,
    **recurrences.TRANSLATIONS,
}
