"""torch's ONNX exporter, without the second and more in which it prepares the translation of every operator there is.

Its own front door has no other way; what stands behind it belongs to one version of torch, which is why that is pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch
from onnxscript.function_libs.torch_lib import ops as _  # noqa: F401  (fills the library)
from onnxscript.function_libs.torch_lib.registration import default_registry as library
from torch.onnx._internal.exporter import _core
from torch.onnx._internal.exporter._registration import OnnxDecompMeta, ONNXRegistry
from torch.onnx._internal.exporter._torchlib._torchlib_registry import get_torchlib_ops

Translations = Mapping[Callable[..., Any], Callable[..., Any]]


def export(program: torch.export.ExportedProgram, opset: int, translations: Translations) -> ir.Model:
    """A program as ONNX; `translations` come before the exporter's own. Raises torch.onnx.OnnxExporterError."""
    exported = _core.export(
        program, registry=_OnDemand(opset, translations), opset_version=opset, optimize=False, verbose=False
    )
    return exported.model


class _OnDemand(ONNXRegistry):
    """Translations that are prepared when an operator first asks for them."""

    def __init__(self, opset: int, translations: Translations) -> None:
        super().__init__()
        self._opset_version = opset
        self._seen: set[str] = set()
        for known in get_torchlib_ops():
            self._register(known.fx_target, known)
        for target, function in translations.items():
            self.register_op(target, function)

    def get_decomps(self, target: Any) -> list[OnnxDecompMeta]:
        """The translations of one operator, archc's first, and of the exporter's those of the newest opset."""
        name = target.name() if isinstance(target, torch._ops.OpOverload) else _builtin(target)
        if name not in self._seen:
            self._seen.add(name)
            for function in library[name].overloads if name in library else ():
                self._register(target, OnnxDecompMeta(onnx_function=function, fx_target=target, signature=None))
        found = [meta for meta in super().get_decomps(target) if meta.opset_introduced <= self.opset_version]
        newest = max((meta.opset_introduced for meta in found if not meta.is_custom), default=0)
        return [meta for meta in found if meta.is_custom or meta.opset_introduced == newest]


def _builtin(target: Any) -> str:
    """The library's name of a Python function, such as `_operator::mul`."""
    return f"{getattr(target, '__module__', '')}::{getattr(target, '__name__', '')}"
