"""Errors of the runtime; those of plan files are in `archc.plan.errors`."""

from __future__ import annotations

from archc.plan.errors import EngineError, PlanError

__all__ = ["BackendError", "EngineError", "PlanError", "PromptError"]


class PromptError(EngineError):
    """The ids, text, messages or options of a call do not fit the plan."""


class BackendError(EngineError):
    """The package, execution provider or device that the plan's target needs is missing or unsuitable."""
