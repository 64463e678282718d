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
from archc.lazy import lazy_names

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


_public_name = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, and keep it."""
    value: Any
    if name == "__version__":
        from importlib import metadata

        value = metadata.version("archc-compiler")
    else:
        value = _public_name(name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
