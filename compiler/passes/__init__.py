"""Graph passes: one pass, one file. A pass takes a model, changes it in place, and says how often it did."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

Pass = Callable[[ir.Model], int]
