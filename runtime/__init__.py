"""Runs an `engine.plan`: `load(path)` gives an `Engine`.  Imports neither torch nor the compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archc.runtime.errors import BackendError, EngineError, PlanError, PromptError

if TYPE_CHECKING:
    from archc.runtime.engine import Engine, load
    from archc.runtime.generation.generate import Sequences

__all__ = ["BackendError", "Engine", "EngineError", "PlanError", "PromptError", "Sequences", "load"]

_HOMES = {
    "Engine": "archc.runtime.engine",
    "load": "archc.runtime.engine",
    "Sequences": "archc.runtime.generation.generate",
}


def __getattr__(name: str) -> Any:
    """Import the heavier names only when somebody asks for them, so that `archc --help` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
