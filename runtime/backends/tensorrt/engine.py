"""Opening a serialized TensorRT engine: its package, device and tensors are the manifest's, or it is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from archc.plan.engine_section import Engine, Profile
from archc.plan.manifest import Encoder, Manifest, Shape, State
from archc.plan.reader import MODEL, Plan
from archc.runtime.backends.tensorrt.cuda import Device
from archc.runtime.errors import BackendError, EngineError, PlanError

# Builder: how messages call it, and the archc extra that installs it.
PACKAGES = {"tensorrt": ("TensorRT", "tensorrt"), "tensorrt_rtx": ("TensorRT for RTX", "rtx")}
_DTYPES = {
    "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int64": "INT64", "int32": "INT32", "int8": "INT8",
    "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip


def open_device(engine: Engine, plan: Plan) -> Device:
    """Return the device, if the engine was built for it.

    This goes before any use of TensorRT, some of whose runtimes crash the process where there is no device.
    """
    name, extra = PACKAGES[engine.builder]
    device = Device(extra)
    if device.capability not in engine.compute_capabilities:
        # Of the two packages, the one that builds for other devices must be told of one that it does not think of.
        option = f" --compute-capability {device.capability}" if engine.builder == "tensorrt_rtx" else ""
        raise BackendError(
            f"{plan.path}: this {name} engine is for GPUs of compute capability "
            f"{' or '.join(engine.compute_capabilities)}, and this GPU has {device.capability}: "
            f"{how_to_rebuild(plan, option)}"
        )
    return device


def import_tensorrt(engine: Engine, plan: Plan) -> Any:
    """Return the package that built the engine; raise BackendError if it is missing or of another version."""
    name, extra = PACKAGES[engine.builder]
    try:
        trt = import_module(engine.builder)
    except ImportError as error:
        raise BackendError(f'{name} cannot be imported ({error}): pip install "archc[{extra}]"') from None
    if trt.__version__ != engine.version:
        raise BackendError(
            f"{plan.path}: this engine was built by {name} {engine.version}, which alone can load it, and here is "
            f"{trt.__version__}: install {engine.builder.replace('_', '-')} {engine.version}, or {how_to_rebuild(plan)}"
        )
    return trt


def how_to_rebuild(plan: Plan, option: str = "") -> str:
    """Say how to get an engine for this machine, with one more option of the command where it needs one."""
    target = f"{plan.manifest.target}{option}"
    if MODEL in plan.names:
        return f"rebuild it on this machine with archc build {plan.path} --target {target}"
    return (
        f"build it again on this machine from its checkpoint with --target {target} (a plan built with --keep-graph "
        f"can be rebuilt with archc build PLAN --target {target})"
    )


class Log:
    """TensorRT says why it refuses something only to its logger: what it said lately."""

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
        """Return what was logged since the last time, the latest last."""
        said = "; ".join(self._lines) or "it gave no reason"
        self._lines.clear()
        return said

    @contextmanager
    def explaining(self, what: str, kind: type[EngineError] = EngineError) -> Iterator[None]:
        """Turn an exception of TensorRT's into an EngineError of that kind, with what was logged."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:  # pybind11 gives several of Python's own
            raise kind(
                f"{what}: {(str(error).splitlines() or [type(error).__name__])[0]:.300}; {self.take()}"
            ) from None


class OpenEngine:
    """A deserialized engine, with what it needs to stay alive: its logger and its runtime.

    `captures` says whether steps that repeat are recorded here. TensorRT for RTX records its own, once the kernels that
    it still compiles are there.
    """

    def __init__(self, trt: Any, plan: Plan, section: Engine, cuda_graph: bool) -> None:
        self.trt, self.log = trt, Log(trt)
        self._records_itself = cuda_graph and hasattr(trt, "CudaGraphStrategy")
        self.captures = cuda_graph and not self._records_itself
        where = f"{plan.path}: TensorRT refuses {section.file}"
        with self.log.explaining(where, PlanError), plan.mapped(section.file) as data:
            self.runtime = trt.Runtime(self.log.logger)
            self.engine = self.runtime.deserialize_cuda_engine(data)
        if self.engine is None:
            raise PlanError(f"{where}: {self.log.take()}; {how_to_rebuild(plan)}")
        if section.weight_streaming:
            self.engine.weight_streaming_budget_v2 = self.engine.get_weight_streaming_automatic_budget()

    def context(self, profile: int, stream: int, repeated: bool) -> Any:
        """Return a new execution context without memory of its own, set to that optimization profile."""
        with self.log.explaining("TensorRT cannot make an execution context"):
            how: Any = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
            if repeated and self._records_itself:
                strategy, how = how, self.engine.create_runtime_config()
                how.set_execution_context_allocation_strategy(strategy)
                how.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self.engine.create_execution_context(how)
            if context is None:
                raise EngineError(f"TensorRT cannot make an execution context: {self.log.take()}")
            self.need(context.set_optimization_profile_async(profile, stream), f"optimization profile {profile}")
        return context

    def need(self, ok: bool, what: str) -> None:
        """Raise EngineError, with what was logged, unless TensorRT took it."""
        if not ok:
            raise EngineError(f"TensorRT refuses {what}: {self.log.take()}")


def check_engine(opened: OpenEngine, described: Manifest | Encoder, section: Engine, where: str) -> None:
    """Raise PlanError unless the engine has the manifest's tensors, profiles and shared addresses.

    `described` is the manifest, or its section of an encoder.
    """
    trt, engine = opened.trt, opened.engine
    states: Sequence[State] = described.state if isinstance(described, Manifest) else ()
    inputs = {i.name: (i.dtype, i.shape) for i in described.inputs} | {s.input: (s.dtype, s.shape) for s in states}
    outputs = {o.name: (o.dtype, o.shape) for o in described.outputs}
    outputs |= {s.output: (s.dtype, s.shape) for s in states if s.output is not None}
    found = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    if odd := sorted((inputs.keys() | outputs.keys()) ^ set(found)):
        raise PlanError(f"{where}: the tensor {odd[0]!r} is in only one of engine and manifest; build the plan again")
    for name, (dtype, shape) in (inputs | outputs).items():
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        kind = engine.get_tensor_dtype(name)
        if is_input != (name in inputs) or kind != getattr(trt.DataType, _DTYPES.get(dtype, ""), None):
            raise PlanError(
                f"{where}: {name!r} is {dtype} in the manifest, but {kind} in the engine, or goes the other way"
            )
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise PlanError(
                f"{where}: {name!r} lies in the host's memory; this runtime keeps every tensor on the device"
            )
        _check_shape(f"{where}: {name!r}", shape, tuple(engine.get_tensor_shape(name)), section, is_input)
    if engine.num_optimization_profiles != len(section.profiles):
        raise PlanError(f"{where}: the engine does not have the manifest's {len(section.profiles)} profiles")
    for index, profile in enumerate(section.profiles):
        for name, (_, shape) in inputs.items():
            bounds = zip(*(tuple(dims) for dims in engine.get_tensor_profile_shape(name, index)), strict=True)
            _check_profile(f"{where}: {name!r} in profile {profile.name!r}", profile, shape, bounds)
    for state in states:
        if state.output is None:
            continue
        shared = engine.get_aliased_input_tensor(state.output) or None
        if shared != (state.input if state.kind == "kv" else None):
            raise PlanError(
                f"{where}: {state.output!r} is of kind {state.kind}, but the engine "
                + (f"writes it over {shared!r}" if shared else "does not write it in place")
                + "; build the plan again"
            )


def _check_shape(where: str, shape: Shape, dims: tuple[int, ...], section: Engine, is_input: bool) -> None:
    """Compare a shape; a size that the engine does not say (-1) passes for an output, which has it at the call."""
    agree = len(dims) == len(shape)
    for said, found in zip(shape, dims, strict=False):
        sizes = {section.capacity} if said == "capacity" else {said} if isinstance(said, int) else {-1}
        if isinstance(said, str) and said != "capacity":
            # An axis that every profile gives one size may have lost its name.
            only = {size for profile in section.profiles for size in profile.axes[said]}
            sizes |= only if len(only) == 1 else set()
        agree &= found in sizes or (not is_input and (found == -1 or sizes == {-1}))
    if not agree:
        raise PlanError(f"{where} is {list(shape)} in the manifest, but {list(dims)} in the engine")


def _check_profile(where: str, profile: Profile, shape: Shape, bounds: Any) -> None:
    for axis, found in zip(shape, bounds, strict=True):
        if isinstance(axis, str) and axis in profile.axes and tuple(found) != profile.axes[axis]:
            raise PlanError(
                f"{where}: the manifest says {list(profile.axes[axis])} for {axis!r}, and the engine {list(found)}"
            )


def choose_profile(section: Engine, sizes: Mapping[str, int]) -> int:
    """Return the index of the narrowest profile that has room for the axes' sizes; raise EngineError for none."""
    fitting = [
        (sum(greatest for _, _, greatest in profile.axes.values()), index)
        for index, profile in enumerate(section.profiles)
        if all(least <= sizes[axis] <= most for axis, (least, _, most) in profile.axes.items() if axis in sizes)
    ]
    if fitting:
        return min(fitting)[1]
    if "batch" in sizes:
        size, most = sizes["batch"], max(profile.axes["batch"][2] for profile in section.profiles)
        if size > most:
            raise EngineError(
                f"{size} sequences at once; this plan takes {most}: build it with --max-batch-size {size}"
            )
    told = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    raise EngineError(f"no profile of this plan's engine has room for a call of {told}")
