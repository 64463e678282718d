"""The engine.plan file format: manifest, reader and writer. docs/plan-format.md describes the format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archc.lazy import lazy_names
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
    "Encoder": "archc.plan.records",
    "Engine": "archc.plan.engine_section",
    "Entry": "archc.plan.records",
    "EntryStream": "archc.plan.pipeline",
    "FORMAT": "archc.plan.manifest",
    "GenerationDefaults": "archc.plan.generation",
    "Input": "archc.plan.records",
    "Limits": "archc.plan.records",
    "Manifest": "archc.plan.manifest",
    "Mask": "archc.plan.records",
    "Output": "archc.plan.records",
    "Plan": "archc.plan.reader",
    "PlanWriter": "archc.plan.writer",
    "Prefix": "archc.plan.records",
    "Profile": "archc.plan.engine_section",
    "State": "archc.plan.records",
    "Tensor": "archc.plan.records",
    "Tokens": "archc.plan.records",
}

# Errors need no numpy, and reading a plan needs none of the packages of the writer.
__getattr__ = lazy_names(__name__, _MODULES)
