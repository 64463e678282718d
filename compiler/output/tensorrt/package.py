"""The packages that build engines: `tensorrt`, and `tensorrt_rtx` with nearly the same Python API."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from archc.compiler.errors import BuildError

Module = Literal["tensorrt", "tensorrt_rtx"]


@dataclass(frozen=True)
class Package:
    """One of the two packages."""

    #: The name under which it is imported.
    module: Module
    #: The extra of archc's distribution that installs it.
    extra: str
    #: The versions that are supported: from `least` to below `below`.
    least: tuple[int, ...]
    below: tuple[int, ...]
    #: Builds without a GPU, for several compute capabilities at once.
    ahead_of_time: bool


PACKAGES = {
    "tensorrt": Package("tensorrt", "tensorrt", (11,), (12,), ahead_of_time=False),
    "tensorrt-rtx": Package("tensorrt_rtx", "rtx", (1, 7), (1, 8), ahead_of_time=True),
}


def load_package(target: str) -> Any:
    """Return the module that builds for a target. Raises BuildError if it is missing or of another version."""
    package = PACKAGES[target]
    advice = f'pip install "archc-compiler[{package.extra}]"'
    try:
        module = import_module(package.module)
    except ImportError as error:
        raise BuildError(
            f"--target {target}: {package.module} cannot be imported ({error}); install it: {advice}"
        ) from None
    if not package.least <= version_of(module) < package.below:
        least, below = (".".join(map(str, bound)) for bound in (package.least, package.below))
        raise BuildError(
            f"--target {target}: expected {package.module} from {least} to below {below}, got "
            f"{getattr(module, '__version__', 'no version')}; install another version: {advice}"
        )
    return module


def version_of(module: Any) -> tuple[int, ...]:
    """Return the numbers of a module's version."""
    text = str(getattr(module, "__version__", ""))
    return tuple(int(part) for part in text.split(".") if part.isdigit())
