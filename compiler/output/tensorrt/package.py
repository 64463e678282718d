"""The package that builds engines: `tensorrt`, or `tensorrt_rtx`, whose Python API is nearly the same."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from archc.compiler.errors import BuildError

Module = Literal["tensorrt", "tensorrt_rtx"]


@dataclass(frozen=True)
class Package:
    """One of the two packages: its module, the archc extra that installs it, the versions that archc builds with."""

    module: Module
    extra: str
    least: tuple[int, ...]
    below: tuple[int, ...]
    ahead: bool
    """Whether it builds for devices that are not there, and for several at once."""


PACKAGES = {
    "tensorrt": Package("tensorrt", "tensorrt", (11,), (12,), ahead=False),
    "tensorrt-rtx": Package("tensorrt_rtx", "rtx", (1, 7), (1, 8), ahead=True),
}


def load_package(target: str) -> Any:
    """The module that builds for a target. Raises BuildError where it is missing or of another version."""
    package = PACKAGES[target]
    advice = f'pip install "archc[{package.extra}]"'
    try:
        module = import_module(package.module)
    except ImportError as error:
        raise BuildError(
            f"--target {target} needs {package.module}, which cannot be imported ({error}): {advice}"
        ) from None
    found = version_of(module)
    if not package.least <= found < package.below:
        least, below = (".".join(map(str, bound)) for bound in (package.least, package.below))
        raise BuildError(
            f"--target {target} builds with {package.module} from {least} to below {below}, and "
            f"{getattr(module, '__version__', 'none')} is installed: {advice}"
        )
    return module


def version_of(module: Any) -> tuple[int, ...]:
    """The numbers of a module's version."""
    text = str(getattr(module, "__version__", ""))
    return tuple(int(part) for part in text.split(".") if part.isdigit())
