"""ONNX Runtime: the targets ort-cpu and ort-cuda."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.plan.dtypes import DTYPES
from archc.plan.manifest import Encoder, Manifest, Shape
from archc.plan.reader import ENCODER, MODEL, Plan
from archc.runtime.backends import ort_cuda
from archc.runtime.backends.base import Binding, Buffer
from archc.runtime.backends.threads import usable_cores
from archc.runtime.errors import BackendError, EngineError, PlanError

# Target: execution provider, device, the archc extra that installs it.
PROVIDERS = {
    "ort-cpu": ("CPUExecutionProvider", "cpu", "cpu"),
    "ort-cuda": ("CUDAExecutionProvider", "cuda", "gpu"),
}
_FEWEST_KEYS = 256
_ALIGNMENT = 64  # bytes: a cache line, and the widest vector load


class OrtBuffer:
    """A tensor in ONNX Runtime's hands; on the CPU, a view of `host`."""

    def __init__(self, host: NDArray[Any], dtype: str, device: str) -> None:
        ort = import_module("onnxruntime")

        self.dtype, self.shape = dtype, host.shape
        self.value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(host, DTYPES[dtype].onnx)
        if device != "cpu":
            on_host, onnx_type = self.value, DTYPES[dtype].onnx
            self.value = ort.OrtValue.ortvalue_from_shape_and_type(list(host.shape), onnx_type, device, 0)
            self.value.update_inplace(on_host)
        self.host = host if device == "cpu" else None

    @property
    def address(self) -> int:
        """Where its first byte is, on its device."""
        return int(self.value.data_ptr())

    def read(self) -> NDArray[Any]:
        """Return its contents, in numpy's storage type; a view on the CPU, a copy elsewhere."""
        if self.host is not None:
            return self.host
        ort = import_module("onnxruntime")

        copy = np.empty(self.shape, DTYPES[self.dtype].storage)
        ort.OrtValue.ortvalue_from_numpy_with_onnx_type(copy, DTYPES[self.dtype].onnx).update_inplace(self.value)
        return copy


class OrtCall:
    """A session's IOBinding, kept from call to call: only the small inputs and the outputs change."""

    _options: Any = None

    def __init__(self, session: Any, state: Sequence[Binding], dtypes: Mapping[str, str]) -> None:
        self._session, self._state, self._dtypes = session, state, dtypes
        self._from_numpy = import_module("onnxruntime").OrtValue.ortvalue_from_numpy_with_onnx_type
        self._io = session.io_binding()
        self._bound: frozenset[str] = frozenset()
        for binding in state:
            if binding.input is not None:
                self._io.bind_ortvalue_input(binding.input, _value(binding.buffer))
        self._bind_state_outputs()

    def _bind_state_outputs(self) -> None:
        for binding in self._state:
            if binding.output is not None:
                self._io.bind_ortvalue_output(binding.output, _value(binding.target or binding.buffer))

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Execute the graph on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        if not self._bound <= outputs.keys():
            self._io.clear_binding_outputs()
            self._bind_state_outputs()
        self._bound = frozenset(outputs)
        for name, array in feeds.items():
            self._io.bind_cpu_input(name, array)
        for name, array in outputs.items():
            self._io.bind_ortvalue_output(name, self._from_numpy(array, DTYPES[self._dtypes[name]].onnx))
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise EngineError(f"the graph failed to run: {_first_line(error)}") from None


class RecordedCall(OrtCall):
    """An OrtCall on the GPU whose steps of one token are recorded as CUDA graphs, each as long as its shapes last."""

    _step: ort_cuda.RecordedStep | None = None
    _key: tuple[object, ...] = ()

    def __init__(self, session: Any, state: Sequence[Binding], dtypes: Mapping[str, str], ids: str) -> None:
        super().__init__(session, state, dtypes)
        self._options = ort_cuda.run_options(import_module("onnxruntime"))
        self._ids = ids
        self._bindings = [(b, _value(b.buffer), _value(b.target or b.buffer)) for b in state]

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Execute the graph on `feeds` and fill `outputs`; raise EngineError if the execution fails."""
        if not self._bindings or feeds[self._ids].shape[-1] != 1 or not all(array.size for array in feeds.values()):
            super().run(feeds, outputs)
            return
        key = (*((name, array.shape) for name, array in feeds.items()), *outputs)
        try:
            if self._step is None or key != self._key:
                self._forget()
                self._step = ort_cuda.RecordedStep(self._session, self._bindings, feeds, outputs, self._dtypes)
                self._key = key
            self._step.run(feeds, outputs)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise EngineError(f"the graph failed to run: {_first_line(error)}") from None

    def _forget(self) -> None:
        if self._step is not None:
            self._step.close()
            self._step = None

    def __del__(self) -> None:
        self._forget()


class OrtBackend:
    """A plan's graph in an ONNX Runtime session whose weights come from the plan file itself.

    `prepack` lets the session keep weights in the layout that its kernels like best: a little faster for one token,
    twice as fast for a few, at the price of a private copy of the weights instead of a mapping of the file. Plans of
    fewer bits cannot do without; on the CPU, None packs only theirs.
    `graph` is the entry that is loaded: what every call runs, or the encoder of an encoder-decoder. `cuda_graph` has
    the CUDA provider record the steps of one token; it refuses graphs of which it leaves parts to the CPU.
    Raises BackendError if the target's provider is not there, PlanError if the graph is not what the manifest says.
    """

    def __init__(
        self,
        plan: Plan,
        threads: int | None = None,
        prepack: bool | None = True,
        graph: str = MODEL,
        cuda_graph: bool = False,
    ) -> None:
        provider, self.device, extra = PROVIDERS[plan.manifest.target]
        if threads is not None and threads < 1:
            raise EngineError(f"threads is {threads}; it must be at least 1, or None for every core")
        if prepack is None:
            prepack = plan.manifest.quantization is not None or self.device != "cpu"
        self.prepacked = prepack
        if not prepack and plan.manifest.quantization is not None:
            raise EngineError(
                f"prepack=False: the kernels of {plan.manifest.quantization} want weights in a layout of their own "
                "and take many times as long without it: leave it out, or build without --quantize"
            )
        self.threads = threads or usable_cores()
        ort = import_onnxruntime(extra)
        if provider not in ort.get_available_providers():
            raise BackendError(f'this plan needs {provider}, which is not installed: pip install "archc[{extra}]"')
        on_gpu = self.device == "cuda"
        self._recorded = on_gpu and cuda_graph and graph == MODEL
        providers: list[Any] = ["CPUExecutionProvider"]
        if on_gpu:
            ort_cuda.prepare(ort)
            providers.insert(0, (provider, ort_cuda.provider_options(self._recorded)))
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4  # what is an error becomes an exception; nothing is printed beside it
        options.enable_mem_pattern = False  # a pattern is kept for each shape, and every step has its own
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(plan.path.parent))
        options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
        # In parallel, the file's pages stay until everything is packed: for a moment there are twice the weights.
        in_parallel = plan.manifest.quantization is not None
        options.add_session_config_entry("session.prepack.enable_parallel", "1" if in_parallel else "0")
        try:
            self._session = ort.InferenceSession(plan.model(graph), options, providers=providers)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
            raise PlanError(f"{plan.path}: ONNX Runtime refuses {graph}: {_first_line(error)}") from None
        plan.check_unchanged()
        used = self._session.get_providers()[0]
        if used != provider:
            raise BackendError(
                f"this plan needs {provider}, but the session fell back to {used}: no device or driver was found; "
                f"check nvidia-smi, or build with --target ort-cpu"
            )
        described = plan.manifest.encoder if graph == ENCODER and plan.manifest.encoder is not None else plan.manifest
        check_graph(described, self._session, f"{plan.path}: {graph}")
        self._dtypes = {item.name: item.dtype for item in described.outputs}
        self._dtypes |= {item.name: item.dtype for item in described.inputs}
        self._ids = next(item.name for item in described.inputs if item.role == "token_ids")
        # On the CPU calls compute over all slots, so there are hardly more than tokens; an eighth keeps copies rare.
        # On the GPU they stop at the live ones, and a copy goes through the host.
        self.growth = 2.0 if on_gpu else 9 / 8

    @property
    def capacity(self) -> None:
        """Caches may have any number of slots."""
        return

    def keys(self, total: int, seq: int) -> int:
        """Masks end with the live keys, for each further one would be computed; recorded steps have few lengths."""
        return -(-total // _FEWEST_KEYS) * _FEWEST_KEYS if self._recorded and seq == 1 else total

    def allocate(self, shape: tuple[int, ...], dtype: str) -> OrtBuffer:
        """Return a new buffer of zeros; raise EngineError if there is no memory for it."""
        return OrtBuffer(_zeros(shape, dtype), dtype, self.device)

    def grown(self, buffer: Buffer, axis: int, size: int) -> OrtBuffer:
        """Return a new buffer with `axis` grown to `size`: what `buffer` holds first, then zeros."""
        assert isinstance(buffer, OrtBuffer)
        shape = (*buffer.shape[:axis], size, *buffer.shape[axis + 1 :])
        host = _zeros(shape, buffer.dtype)
        host[(slice(None),) * axis + (slice(buffer.shape[axis]),)] = buffer.read()
        return OrtBuffer(host, buffer.dtype, self.device)

    def bind(self, state: Sequence[Binding]) -> OrtCall:
        """Return a call that keeps its state in the given buffers."""
        if self._recorded:
            return RecordedCall(self._session, state, self._dtypes, self._ids)
        return OrtCall(self._session, state, self._dtypes)


def import_onnxruntime(extra: str) -> Any:
    """Return the onnxruntime module; raise BackendError, saying what to install, if none or two packages are there."""
    spec = find_spec("onnxruntime")
    # Looked for where pip puts it: importlib.metadata takes longer to import than all of this module.
    folders = [Path(folder).parent for folder in spec.submodule_search_locations or ()] if spec is not None else []
    if any(
        any(folder.glob("onnxruntime_gpu-*.dist-info")) and any(folder.glob("onnxruntime-*.dist-info"))
        for folder in folders
    ):
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            f'pip uninstall -y onnxruntime onnxruntime-gpu && pip install "archc[{extra}]"'
        )
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise BackendError(f'ONNX Runtime cannot be imported ({error}): pip install "archc[{extra}]"') from None


def check_graph(manifest: Manifest | Encoder, session: Any, where: str) -> None:
    """Raise PlanError unless the graph has the manifest's inputs, outputs and state, with their types and shapes."""
    state = manifest.state if isinstance(manifest, Manifest) else ()
    inputs = {i.name: (i.dtype, i.shape) for i in manifest.inputs} | {s.input: (s.dtype, s.shape) for s in state}
    outputs = {o.name: (o.dtype, o.shape) for o in manifest.outputs}
    outputs |= {s.output: (s.dtype, s.shape) for s in state if s.output is not None}
    for what, declared, nodes in (
        ("input", inputs, session.get_inputs()),
        ("output", outputs, session.get_outputs()),
    ):
        found = {node.name: node for node in nodes}
        if odd := sorted(declared.keys() ^ found.keys()):
            raise PlanError(
                f"{where}: the {what} {odd[0]!r} is in only one of graph and manifest; build the plan again"
            )
        for name, (dtype, shape) in declared.items():
            _check_value(
                f"{where}: {what} {name!r}", dtype, shape, found[name].type, found[name].shape, what == "input"
            )


_ORT_NAMES = {"float32": "float", "float64": "double"}


def _check_value(where: str, dtype: str, shape: Shape, got: str, dims: Sequence[Any], is_input: bool) -> None:
    """Compare one value; a size that is fixed for only one side passes where shape inference may have given up."""
    agree = got == f"tensor({_ORT_NAMES.get(dtype, dtype)})" and len(dims) == len(shape)
    for said, is_ in zip(shape, dims, strict=False):
        agree &= said == is_ if isinstance(is_, int) else not (isinstance(said, int) and is_input)
    if not agree:
        raise PlanError(f"{where} is {dtype} {list(shape)} in the manifest, but {got} {list(dims)} in the graph")


def _zeros(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return aligned zeros; the system gives the pages only once they are written."""
    storage = DTYPES[dtype].storage
    try:
        count = int(np.prod(shape, dtype=object)) * storage.itemsize
        raw = np.zeros(count + _ALIGNMENT, np.uint8)
    except (MemoryError, ValueError, OverflowError):
        raise EngineError(f"no memory for a {dtype} state of {list(shape)}: use shorter or fewer sequences") from None
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count].view(storage).reshape(shape)


def _value(buffer: Buffer) -> Any:
    assert isinstance(buffer, OrtBuffer)
    return buffer.value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
