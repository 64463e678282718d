"""The ONNX translation of every torch operator of archc's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compiler import operators, recurrences

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {**operators.TRANSLATIONS, **recurrences.TRANSLATIONS}
