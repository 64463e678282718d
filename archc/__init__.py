"""archc: compile model-family specs to engine.plan files, and run them.

    plan = archc.build("qwen2", weights="checkpoint", out="engine.plan")
    engine = archc.load(plan)
    engine.generate([[1, 2, 3]], max_new_tokens=16)

Names are imported on first use, so loading and running a plan never imports torch. `archc.Error` is the base class of
every error about a spec, checkpoint, plan, prompt or option: ArchspecError, BuildError, EngineError, their subclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archc.error import Error

if TYPE_CHECKING:
    from archc.archspec import ArchspecError
    from archc.compiler.build import build
    from archc.compiler.errors import BuildError
    from archc.runtime import Engine, EngineError, load

    __version__: str

__all__ = ["ArchspecError", "BuildError", "Engine", "EngineError", "Error", "__version__", "build", "errors", "load"]

errors = (Error,)
"""For `except archc.errors`, which predates `except archc.Error`."""

_HOMES = {
    "ArchspecError": "archc.archspec.errors",
    "BuildError": "archc.compiler.errors",
    "Engine": "archc.runtime.engine",
    "EngineError": "archc.runtime.errors",
    "build": "archc.compiler.build",
    "load": "archc.runtime.engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    from importlib import import_module, metadata

    if name == "__version__":
        value: Any = metadata.version("archc-compiler")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'archc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
