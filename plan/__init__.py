"""engine.plan: its manifest, its reader and its writer.  The format is described in docs/plan-format.md."""

from archc.plan.engine_section import Engine, Profile
from archc.plan.errors import PlanError
from archc.plan.manifest import (
    FORMAT,
    Encoder,
    Entry,
    Input,
    Limits,
    Manifest,
    Mask,
    Output,
    Prefix,
    State,
    Tensor,
    Tokens,
)
from archc.plan.reader import Plan
from archc.plan.writer import EntryStream, PlanWriter

__all__ = [
    "FORMAT",
    "Encoder",
    "Engine",
    "Entry",
    "EntryStream",
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
