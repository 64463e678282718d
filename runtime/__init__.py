"""The runtime of plans: `load(path)` returns an `Engine` for logits, hidden states, token ids and text. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archc.lazy import lazy_names
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

# `archc --help` imports neither numpy nor the backends.
__getattr__ = lazy_names(__name__, _MODULES)
