"""The ONNX translation of every operator of this package; each file adds its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {}
