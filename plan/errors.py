"""Errors of plan files, below those of the runtime that reads them."""

from __future__ import annotations

from archc.error import Error


class EngineError(Error):
    """Base class of every error raised while a plan is opened, written or run."""


class PlanError(EngineError):
    """The plan file is damaged, hostile, too new, or cannot be written."""
