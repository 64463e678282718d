"""Errors of the runtime; `archc.plan.errors` has those of the plan format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archc.plan.errors import EngineError, PlanError

if TYPE_CHECKING:
    from archc.plan.records import Limits

__all__ = [
    "BackendError",
    "CacheFullError",
    "EngineError",
    "NonFiniteLogitsError",
    "PlanError",
    "PromptError",
    "QueueFullError",
    "fit_length",
]


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


def fit_length(shorten: str, limits: Limits) -> str:
    """Return the advice of an error about more than `limits.max_seq_len` tokens: `shorten`, or a longer plan.

    A longer plan is named only as far as a build allows it.
    """
    longest = limits.longest_sequence
    if longest is None:
        return f"{shorten}, or build with a larger --max-seq-len if the model's context is longer"
    if longest <= limits.max_seq_len:
        return f"{shorten}, because the maximum of this model is {longest} tokens"
    return f"{shorten}, or build with --max-seq-len up to {longest}"
