"""Run the tests where torch is not installed: pytest -p tests.without_torch tests/archspec tests/runtime tests/archc.

A test that fails after it tried to import one of the absent build packages is skipped with the package's name; every
other test counts as usual. The last line of the report has both numbers. With torch installed the run is refused,
because a skip would then hide a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from types import ModuleType

import pytest

BUILD_PACKAGES = {
    "cuda",
    "huggingface_hub",
    "onnx_ir",
    "onnxscript",
    "safetensors",
    "tensorrt_rtx",
    "torch",
    "transformers",
}


class _Attempts(MetaPathFinder):
    """The absent build packages that imports have asked for since the last reset."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Record the name; it is the last finder, so no other one has found the package."""
        if fullname in BUILD_PACKAGES:
            self.names.add(fullname)


_attempts = _Attempts()


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run with torch, otherwise watch imports."""
    if find_spec("torch") is not None:
        raise pytest.UsageError("torch is installed here: run pytest without -p tests.without_torch")
    sys.meta_path.append(_attempts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Skip a test whose fixtures need a build package."""
    _attempts.names.clear()
    return (yield from _skipped_if_absent())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip a test that needs a build package."""
    return (yield from _skipped_if_absent())


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Skip a module that imports a build package."""
    _attempts.names.clear()
    report = yield
    if report.failed and _attempts.names:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, _reason(_attempts.names))
    return report


def _skipped_if_absent() -> Iterator[None]:
    try:
        return (yield)
    except Exception as error:
        # pytest raises the first error of a shared fixture again for each later test.
        needed = _attempts.names or getattr(error, "needed_packages", set())
        if not needed:
            raise
        error.needed_packages = set(needed)
        pytest.skip(_reason(needed))


def _reason(names: set[str]) -> str:
    return f"needs {', '.join(sorted(names))}"
