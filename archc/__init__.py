"""archc: compile model-family specs to engine.plan, and run plans.

Names are imported when they are first used, so that loading and running a plan never imports torch:

    plan = archc.build("qwen2", weights="checkpoint", out="engine.plan")
    engine = archc.load(plan)
    engine.generate([[1, 2, 3]], max_new_tokens=16)

`except archc.errors` catches whatever is wrong with a spec, a checkpoint, a plan or a prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archc.archspec import ArchspecError
    from archc.compiler.build import build
    from archc.compiler.errors import BuildError
    from archc.runtime import Engine, EngineError, load

    __version__: str
    errors: tuple[type[ArchspecError], type[BuildError], type[EngineError]]

__all__ = ["ArchspecError", "BuildError", "Engine", "EngineError", "__version__", "build", "errors", "load"]

_HOMES = {
    "ArchspecError": "archc.archspec.errors",
    "BuildError": "archc.compiler.errors",
    "Engine": "archc.runtime.engine",
    "EngineError": "archc.runtime.errors",
    "build": "archc.compiler.build",
    "load": "archc.runtime.engine",
}
_ERRORS = ("ArchspecError", "BuildError", "EngineError")


def __getattr__(name: str) -> Any:
    """Imports a public name from its home on first use."""
    from importlib import import_module, metadata

    if name == "__version__":
        value: Any = metadata.version("archc-compiler")
    elif name == "errors":
        value = tuple(getattr(import_module(_HOMES[error]), error) for error in _ERRORS)
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'archc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
