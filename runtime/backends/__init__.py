"""Backends that execute a plan's graphs: ONNX Runtime and TensorRT, chosen by the plan's target."""

from __future__ import annotations

from archc.plan.engine_section import ENGINE_TARGETS
from archc.plan.folder import OPTIMUM
from archc.plan.reader import MODEL, Plan
from archc.runtime.backends.base import Backend
from archc.runtime.backends.ort.backend import OrtBackend
from archc.runtime.backends.ort.growing import open_growing
from archc.runtime.backends.ort.package import PROVIDERS
from archc.runtime.backends.prepack import PREPACK_DEFAULT, Prepack
from archc.runtime.errors import BackendError

__all__ = ["Backend", "open_backend"]


def open_backend(
    plan: Plan,
    threads: int | None = None,
    prepack: Prepack = PREPACK_DEFAULT,
    graph: str = MODEL,
    cuda_graph: bool | None = None,
) -> Backend:
    """Return the backend of the plan's target with one of its graphs; raise BackendError for an unsupported target.

    `cuda_graph` enables or disables CUDA graphs for steps of one token; the default depends on the backend.
    """
    target = plan.manifest.target
    if target == OPTIMUM:
        return open_growing(plan, threads, prepack, graph)
    if target in PROVIDERS:
        return OrtBackend(plan, threads, prepack, graph, bool(cuda_graph))
    if target in ENGINE_TARGETS:
        from archc.runtime.backends.tensorrt.backend import TensorRtBackend  # not needed by other targets

        return TensorRtBackend(plan, graph, cuda_graph is not False)
    supported = ", ".join((*PROVIDERS, OPTIMUM, *ENGINE_TARGETS))
    raise BackendError(f"{plan.path}: target {target!r:.60} is not supported; build the plan for one of {supported}")
