"""Choosing the backend that a plan's target asks for."""

from __future__ import annotations

from archc.plan.engine_section import ENGINE_TARGETS
from archc.plan.reader import MODEL, Plan
from archc.runtime.backends.base import Backend
from archc.runtime.backends.ort import PROVIDERS, OrtBackend
from archc.runtime.errors import BackendError

__all__ = ["Backend", "open_backend"]


def open_backend(
    plan: Plan,
    threads: int | None = None,
    prepack: bool | None = True,
    graph: str = MODEL,
    cuda_graph: bool | None = None,
) -> Backend:
    """Return the backend for the plan's target, one of its graphs loaded; raise BackendError for an unknown target.

    `cuda_graph` records the steps of one token, or does not; None leaves it to the backend.
    """
    target = plan.manifest.target
    if target in PROVIDERS:
        return OrtBackend(plan, threads, prepack, graph, bool(cuda_graph))
    if target in ENGINE_TARGETS:
        from archc.runtime.backends.tensorrt.backend import TensorRtBackend  # what other targets do not wait for

        return TensorRtBackend(plan, graph, cuda_graph is not False)
    known = ", ".join((*PROVIDERS, *ENGINE_TARGETS))
    raise BackendError(
        f"{plan.path}: no backend for target {target!r:.60}; this archc runs {known}: build for one of them"
    )
