"""Errors of the plan format; `archc.runtime.errors` has those of the runtime."""

from __future__ import annotations

from archc.error import Error


class EngineError(Error):
    """Base class of every error of opening, writing or running a plan."""


class PlanError(EngineError):
    """The plan file is damaged or malicious, has a newer format, or cannot be written."""
