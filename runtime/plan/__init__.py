"""engine.plan: its manifest, its reader and its writer.  The format is described in docs/plan-format.md."""

from runtime.errors import PlanError
from runtime.plan.engine_section import Engine, Profile
from runtime.plan.manifest import (
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
from runtime.plan.reader import Plan
from runtime.plan.writer import EntryStream, PlanWriter

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
