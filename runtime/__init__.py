"""The runtime of plans: `load(path)` returns an `Engine` for logits, hidden states, token ids and text. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archc.runtime.errors import BackendError, EngineError, NonFiniteLogitsError, PlanError, PromptError

if TYPE_CHECKING:
    from archc.runtime.backends.prepack import Prepack
    from archc.runtime.engine import Engine, load
    from archc.runtime.generation.options import SamplingOptions
    from archc.runtime.generation.result import Generation, TextStream
    from archc.runtime.generation.sequences import Sequences

__all__ = [
    "BackendError",
    "Engine",
    "EngineError",
    "Generation",
    "NonFiniteLogitsError",
    "PlanError",
    "Prepack",
    "PromptError",
    "SamplingOptions",
    "Sequences",
    "TextStream",
    "load",
]

_MODULES = {
    "Engine": "archc.runtime.engine",
    "Generation": "archc.runtime.generation.result",
    "Prepack": "archc.runtime.backends.prepack",
    "SamplingOptions": "archc.runtime.generation.options",
    "Sequences": "archc.runtime.generation.sequences",
    "TextStream": "archc.runtime.generation.result",
    "load": "archc.runtime.engine",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that `archc --help` does not import numpy and the backends."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
