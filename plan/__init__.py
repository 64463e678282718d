"""The engine.plan file format: manifest, reader and writer. docs/plan-format.md describes the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archc.plan.engine_section import Engine, Profile
from archc.plan.errors import PlanError
from archc.plan.generation import GenerationDefaults
from archc.plan.manifest import FORMAT, Manifest
from archc.plan.reader import Plan
from archc.plan.records import Encoder, Entry, Input, Limits, Mask, Output, Prefix, State, Tensor, Tokens

if TYPE_CHECKING:
    from archc.plan.pipeline import EntryStream
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


def __getattr__(name: str) -> Any:
    """Import the writer when it is first used, because reading a plan does not need its packages."""
    if name == "PlanWriter":
        from archc.plan.writer import PlanWriter

        return PlanWriter
    if name == "EntryStream":
        from archc.plan.pipeline import EntryStream

        return EntryStream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
