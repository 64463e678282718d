"""Errors of the runtime; `archc.plan.errors` has those of the plan format."""

from __future__ import annotations

from archc.plan.errors import EngineError, PlanError

__all__ = ["BackendError", "CacheFullError", "EngineError", "NonFiniteLogitsError", "PlanError", "PromptError", "QueueFullError"]


class PromptError(EngineError):
    """The ids, text, messages or options of a call are invalid or do not fit the plan."""


class BackendError(EngineError):
    """The package, execution provider or device that the plan's target requires is missing or unsuitable."""


class NonFiniteLogitsError(EngineError):
    """The logits of a step have no finite maximum, usually because activations overflowed the plan's dtype."""


class CacheFullError(EngineError):
    """A sequence needs more state than the limit of cache memory permits."""


class QueueFullError(EngineError):
    """A service has as many waiting requests as it takes."""
