"""ONNX Runtime sessions for the graphs of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archc.error import install_hint
from archc.plan.manifest import Manifest
from archc.plan.reader import ENCODER, MODEL, PACKED, Plan
from archc.plan.records import Encoder, Packed
from archc.runtime.backends.base import Binding, Buffer
from archc.runtime.backends.ort import cuda
from archc.runtime.backends.ort.buffer import OrtBuffer, OrtBuffers
from archc.runtime.backends.ort.call import OrtCall
from archc.runtime.backends.ort.graph_check import check_graph
from archc.runtime.backends.ort.options import is_packed, loading, session_options
from archc.runtime.backends.ort.package import PROVIDERS, import_onnxruntime
from archc.runtime.backends.ort.saturation import WithoutVnni, packs, saturates, without_vnni
from archc.runtime.backends.prepack import Prepack
from archc.runtime.backends.threads import choose_threads
from archc.runtime.errors import BackendError

_MASK_STEP = 256  # keys: lengths of masks in captured steps are multiples, so that few graphs are captured


class OrtBackend(OrtBuffers):
    """One of a plan's graphs in an ONNX Runtime session, with weights that are read or mapped from the plan file.

    `graph` is the entry to load: the model, or the encoder of an encoder-decoder. With `cuda_graph`, the CUDA provider
    captures steps of one token; it does not support graphs with nodes on the CPU.
    Raises BackendError if the target's provider is missing, PlanError if the graph does not match the manifest.
    """

    def __init__(self, plan: Plan, threads: int | None, prepack: Prepack, graph: str, cuda_graph: bool) -> None:
        provider, self.device, extra = PROVIDERS[plan.manifest.target]
        self.prepacked = is_packed(plan, prepack, self.device)
        self.threads = choose_threads(threads)
        ort = import_onnxruntime(extra)
        if provider not in ort.get_available_providers():
            raise BackendError(
                f"{plan.path}: {provider} is not installed, which this plan requires; install it, {install_hint(extra)}"
            )
        on_gpu = self.device == "cuda"
        self._captures = on_gpu and cuda_graph and graph == MODEL
        providers: list[Any] = ["CPUExecutionProvider"]
        if on_gpu:
            cuda.prepare(ort)
            providers.insert(0, (provider, cuda.provider_options(self._captures)))
        with loading(plan, graph, "plan"):
            options = session_options(ort, plan, self.threads, self.prepacked)
            form = without_vnni(plan, graph) if saturates() else WithoutVnni(plan.model(graph), {})
            form.add_to(ort, options)
            session = ort.InferenceSession(form.model, options, providers=providers)
        if (used := session.get_providers()[0]) != provider:
            raise BackendError(
                f"{plan.path}: expected {provider}, but the session fell back to {used}, because no device or driver "
                "was found; check nvidia-smi, or build with --target ort-cpu"
            )
        section = _section(plan, graph)
        check_graph(section, session, f"{plan.path}: {graph}")
        self._session = session
        self._unpacked = {} if packs() else form.weights
        self._dtypes = {item.name: item.dtype for item in section.outputs}
        self._dtypes |= {item.name: item.dtype for item in section.inputs}
        self._ids = next(item.name for item in section.inputs if item.role == "token_ids")
        # Calls on the CPU compute over all slots, so few are unused; an eighth keeps copies rare. Those on the GPU stop
        # at the live ones, and a copy goes through the host.
        self.growth = 2.0 if on_gpu else 9 / 8

    def mask_length(self, total: int, seq: int) -> int:
        """Return `total`, because each further key costs computation; in captured steps, the next of few lengths."""
        return -(-total // _MASK_STEP) * _MASK_STEP if self._captures and seq == 1 else total

    def rows(self, buffer: Buffer, start: int, stop: int) -> OrtBuffer:
        """Return a view of rows of the first axis; on the CPU only."""
        assert isinstance(buffer, OrtBuffer)
        assert buffer.host is not None
        return OrtBuffer(buffer.host[start:stop], buffer.dtype, self.device)

    def bind(self, state: Sequence[Binding]) -> OrtCall:
        """Return a call that keeps its state in these buffers."""
        if self._captures:
            return cuda.CapturedCall(self._session, state, self._dtypes, self._ids)
        return OrtCall(self._session, state, self._dtypes)


def _section(plan: Plan, graph: str) -> Manifest | Encoder | Packed:
    """Return the section of the manifest that describes a graph."""
    section = {ENCODER: plan.manifest.encoder, PACKED: plan.manifest.packed}.get(graph, plan.manifest)
    assert section is not None
    return section
