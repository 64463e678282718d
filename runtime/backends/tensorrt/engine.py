"""Deserialization of a TensorRT engine, and comparison of its package, device and tensors with the manifest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from archc.error import install_hint
from archc.plan.axes import slots_of
from archc.plan.dtypes import DTYPES
from archc.plan.engine_section import Engine, Profile
from archc.plan.manifest import Manifest
from archc.plan.reader import MODEL, Plan
from archc.plan.records import Encoder, Shape, State
from archc.runtime.backends.tensorrt.cuda import Device
from archc.runtime.errors import BackendError, EngineError, PlanError

# Builder: its name in messages, and the extra that installs it.
PACKAGES = {"tensorrt": ("TensorRT", "tensorrt"), "tensorrt_rtx": ("TensorRT for RTX", "rtx")}


def open_device(engine: Engine, plan: Plan) -> Device:
    """Return the device; raise BackendError unless the engine was built for it.

    Call this before any use of TensorRT, some versions of which crash the process without a device.
    """
    name, extra = PACKAGES[engine.builder]
    device = Device(extra)
    if device.capability not in engine.compute_capabilities:
        # TensorRT for RTX builds for several devices; others must be listed explicitly.
        option = f" --compute-capability {device.capability}" if engine.builder == "tensorrt_rtx" else ""
        raise BackendError(
            f"{plan.path}: the {name} engine requires compute capability {' or '.join(engine.compute_capabilities)}, "
            f"and this GPU has {device.capability}; {rebuild_hint(plan, option)}"
        )
    return device


def import_tensorrt(engine: Engine, plan: Plan) -> Any:
    """Return the package that built the engine; raise BackendError if it is missing or has another version."""
    name, extra = PACKAGES[engine.builder]
    try:
        trt = import_module(engine.builder)
    except ImportError as error:
        raise BackendError(f"{name} cannot be imported ({error}); install it, {install_hint(extra)}") from None
    if trt.__version__ != engine.version:
        raise BackendError(
            f"{plan.path}: the engine requires {name} {engine.version}, and {trt.__version__} is installed; install "
            f"{engine.builder.replace('_', '-')} {engine.version}, or {rebuild_hint(plan)}"
        )
    return trt


def rebuild_hint(plan: Plan, option: str = "") -> str:
    """Return advice for building an engine for this machine, with one more command-line option if required."""
    target = f"{plan.manifest.target}{option}"
    if MODEL in plan.names:
        return f"rebuild the plan on this machine with archc build {plan.path} --target {target}"
    return (
        f"rebuild the plan on this machine from its checkpoint with --target {target} (after a build with "
        f"--keep-graph, archc build PLAN --target {target} is sufficient)"
    )


class Log:
    """The latest error messages of TensorRT, which reports reasons only to its logger."""

    def __init__(self, trt: Any) -> None:
        self._lines = lines = deque[str](maxlen=20)

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    lines.append(" ".join(message.split())[:500])

        self.logger = Logger()

    def take(self) -> str:
        """Return the messages since the previous call, the latest last."""
        messages = "; ".join(self._lines) or "no reason was logged"
        self._lines.clear()
        return messages

    @contextmanager
    def explaining(self, what: str, kind: type[EngineError] = EngineError) -> Iterator[None]:
        """Raise an exception of TensorRT as an EngineError of that kind, with the logged messages."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:  # pybind11 raises several of Python's classes
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise kind(f"{what}: {line:.300} ({self.take()}); build the plan again") from None


class OpenEngine:
    """A deserialized engine with its logger and runtime, which must outlive it.

    `captures` is true if repeated steps are captured as CUDA graphs by this runtime. TensorRT for RTX captures them
    itself, once its kernels are compiled.
    """

    def __init__(self, trt: Any, plan: Plan, section: Engine, cuda_graph: bool) -> None:
        self.trt, self.log = trt, Log(trt)
        self._captures_itself = cuda_graph and hasattr(trt, "CudaGraphStrategy")
        self.captures = cuda_graph and not self._captures_itself
        where = f"{plan.path}: TensorRT cannot load {section.file}"
        with self.log.explaining(where, PlanError), plan.mapped(section.file) as data:
            self.runtime = trt.Runtime(self.log.logger)
            self.engine = self.runtime.deserialize_cuda_engine(data)
        if self.engine is None:
            raise PlanError(f"{where} ({self.log.take()}); {rebuild_hint(plan)}")
        if section.weight_streaming:
            self.engine.weight_streaming_budget_v2 = self.engine.get_weight_streaming_automatic_budget()

    def context(self, profile: int, stream: int, repeated: bool) -> Any:
        """Return a new execution context of an optimization profile; its memory is managed by the caller."""
        with self.log.explaining("TensorRT cannot create an execution context"):
            strategy = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            config: Any = strategy
            if repeated and self._captures_itself:
                config = self.engine.create_runtime_config()
                config.set_execution_context_allocation_strategy(strategy)
                config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self.engine.create_execution_context(config)
            if context is None:
                raise EngineError(
                    f"TensorRT cannot create an execution context ({self.log.take()}); use fewer or shorter sequences"
                )
            self.need(context.set_optimization_profile_async(profile, stream), f"optimization profile {profile}")
        return context

    def need(self, ok: bool, what: str) -> None:
        """Raise EngineError with the logged messages unless `ok`."""
        if not ok:
            raise EngineError(f"TensorRT rejects {what} ({self.log.take()}); build the plan again")


def check_engine(opened: OpenEngine, manifest: Manifest | Encoder, section: Engine, where: str) -> None:
    """Raise PlanError unless the engine has the tensors, profiles and aliased state of the manifest or its encoder."""
    trt, engine = opened.trt, opened.engine
    states: Sequence[State] = manifest.state if isinstance(manifest, Manifest) else ()
    inputs = {i.name: (i.dtype, i.shape) for i in manifest.inputs} | {s.input: (s.dtype, s.shape) for s in states}
    outputs = {o.name: (o.dtype, o.shape) for o in manifest.outputs}
    outputs |= {s.output: (s.dtype, s.shape) for s in states if s.output is not None}
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if mismatched := sorted((inputs.keys() | outputs.keys()) ^ names):
        raise PlanError(
            f"{where}: tensor {mismatched[0]!r}: expected in both engine and manifest; build the plan again"
        )
    for name, (dtype, shape) in (inputs | outputs).items():
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        kind = engine.get_tensor_dtype(name)
        if is_input != (name in inputs) or kind != getattr(trt.DataType, DTYPES[dtype].tensorrt or "", None):
            raise PlanError(
                f"{where}: {name!r}: {dtype} {'input' if name in inputs else 'output'} in the manifest, but {kind} "
                f"{'input' if is_input else 'output'} in the engine; build the plan again"
            )
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise PlanError(f"{where}: {name!r} is in host memory, which is not supported; build the plan again")
        _check_shape(f"{where}: {name!r}", shape, tuple(engine.get_tensor_shape(name)), section, is_input)
    if engine.num_optimization_profiles != len(section.profiles):
        raise PlanError(
            f"{where}: expected {len(section.profiles)} optimization profiles as in the manifest, got "
            f"{engine.num_optimization_profiles}; build the plan again"
        )
    for index, profile in enumerate(section.profiles):
        for name, (_, shape) in inputs.items():
            bounds = zip(*(tuple(dims) for dims in engine.get_tensor_profile_shape(name, index)), strict=True)
            _check_profile(f"{where}: {name!r} in profile {profile.name!r}", profile, shape, bounds)
    for state in states:
        if state.output is None:
            continue
        aliased = engine.get_aliased_input_tensor(state.output) or None
        if aliased != (state.input if state.kind in ("kv", "block") else None):
            raise PlanError(
                f"{where}: {state.output!r} is state of kind {state.kind}, but the engine "
                + (f"writes it in place of {aliased!r}" if aliased else "does not write it in place")
                + "; build the plan again"
            )


def _check_shape(where: str, shape: Shape, dims: tuple[int, ...], section: Engine, is_input: bool) -> None:
    """Raise PlanError unless the shapes agree; an unknown size (-1) of an output is compared during the call."""
    agree = len(dims) == len(shape)
    for declared, actual in zip(shape, dims, strict=False):
        slots = slots_of(declared, section.capacity) if section.capacity is not None else None
        sizes = {slots} if slots is not None else {declared} if isinstance(declared, int) else {-1}
        if isinstance(declared, str) and slots is None:
            # An axis with the same single size in all profiles may be constant in the engine.
            profiled = {size for profile in section.profiles for size in profile.axes[declared]}
            sizes |= profiled if len(profiled) == 1 else set()
        agree &= actual in sizes or (not is_input and (actual == -1 or sizes == {-1}))
    if not agree:
        raise PlanError(f"{where}: {list(shape)} in the manifest, but {list(dims)} in the engine; build the plan again")


def _check_profile(where: str, profile: Profile, shape: Shape, bounds: Any) -> None:
    for axis, actual in zip(shape, bounds, strict=True):
        if isinstance(axis, str) and axis in profile.axes and tuple(actual) != profile.axes[axis]:
            raise PlanError(
                f"{where}: axis {axis!r}: {list(profile.axes[axis])} in the manifest, but {list(actual)} in the "
                "engine; build the plan again"
            )


def choose_profile(section: Engine, sizes: Mapping[str, int]) -> int:
    """Return the index of the smallest profile whose ranges include all sizes; raise EngineError if there is none."""
    fitting = [
        (sum(maximum for _, _, maximum in profile.axes.values()), index)
        for index, profile in enumerate(section.profiles)
        if all(low <= sizes[axis] <= high for axis, (low, _, high) in profile.axes.items() if axis in sizes)
    ]
    if fitting:
        return min(fitting)[1]
    if "batch" in sizes:
        size, maximum = sizes["batch"], max(profile.axes["batch"][2] for profile in section.profiles)
        if size > maximum:
            raise EngineError(
                f"batch: expected at most {maximum} sequences, got {size}; build with --max-batch-size {size}"
            )
    call = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    raise EngineError(f"no optimization profile of the engine includes the sizes {call}; build with larger limits")
