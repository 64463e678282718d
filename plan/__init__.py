"""The engine.plan file format: manifest, reader and writer. docs/plan-format.md describes the format."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from archc.plan.errors import PlanError

if TYPE_CHECKING:
    from archc.plan.engine_section import Engine, Profile
    from archc.plan.generation import GenerationDefaults
    from archc.plan.manifest import FORMAT, Manifest
    from archc.plan.pipeline import EntryStream
    from archc.plan.reader import Plan
    from archc.plan.records import Encoder, Entry, Input, Limits, Mask, Output, Prefix, State, Tensor, Tokens
    from archc.plan.writer import PlanWriter

__all__ = [
    "FORMAT",
    "Encoder",
    "Engine",
    "Entry",
    "EntryStream",
    "GenerationDefaults",
    "Input",
    "Limits",
    "Manifest",
    "Mask",
    "Output",
    "Plan",
    "PlanError",
    "PlanWriter",
    "Prefix",
    "Profile",
    "State",
    "Tensor",
    "Tokens",
]


_MODULES = {
    "archc.plan.engine_section": ("Engine", "Profile"),
    "archc.plan.generation": ("GenerationDefaults",),
    "archc.plan.manifest": ("FORMAT", "Manifest"),
    "archc.plan.pipeline": ("EntryStream",),
    "archc.plan.reader": ("Plan",),
    "archc.plan.records": (
        "Encoder", "Entry", "Input", "Limits", "Mask", "Output", "Prefix", "State", "Tensor", "Tokens",
    ),
    "archc.plan.writer": ("PlanWriter",),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name on first use: errors need no numpy, and reading a plan not the packages of the writer."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
