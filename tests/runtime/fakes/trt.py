"""`tensorrt`: engines that are ONNX graphs, run by ONNX Runtime on what lies in the fake device's memory."""

from __future__ import annotations

import enum
import itertools
import json
import types
import weakref
from typing import Any

import numpy as np

from tests.runtime.fakes.cuda import GARBAGE, FakeCuda

MAGIC = b"fake engine\n"
NUMPY = {"FLOAT": np.float32, "INT64": np.int64, "BOOL": np.bool_}


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.made = True


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class TensorLocation(enum.Enum):
    DEVICE = 0
    HOST = 1


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT64 = 8
    BOOL = 4
    BF16 = 7


class Strategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


def pack(description: dict[str, Any], model: bytes) -> bytes:
    """Return a serialized engine.

    `description` has `tensors` by name (mode, dtype, shape with -1 where it varies), `profiles` (by input: least, usual
    and greatest shape) and `aliased` (input by output).
    """
    head = json.dumps(description).encode()
    return MAGIC + len(head).to_bytes(4, "little") + head + model


class FakeTensorRt:
    """Makes the module for one fake device."""

    def __init__(self, cuda: FakeCuda, version: str = "11.4.0.12", captures: bool = True, rtx: bool = False) -> None:
        self.cuda, self.captures = cuda, captures
        self.contexts: list[Context] = []
        self.runs: list[tuple[int, bool]] = []  # of each execution: the profile, and whether it was recorded
        self.module = types.SimpleNamespace(
            __version__=version,
            ILogger=ILogger,
            Runtime=lambda logger: Runtime(self, logger),
            DataType=DataType,
            TensorIOMode=TensorIOMode,
            TensorLocation=TensorLocation,
            ExecutionContextAllocationStrategy=Strategy,
        )
        if rtx:
            self.module.CudaGraphStrategy = types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")


class Runtime:
    def __init__(self, fake: FakeTensorRt, logger: ILogger) -> None:
        assert logger.made, "ILogger.__init__ was not called"
        assert "cudaGetDeviceCount" in fake.cuda.calls, "TensorRT is used before a device was looked for"
        self.fake, self.logger = fake, weakref.ref(logger)

    def deserialize_cuda_engine(self, data: Any) -> Engine | None:
        data = bytes(data)
        if not data.startswith(MAGIC):
            self.error("magicTag mismatch:\n  the engine is damaged")
            return None
        start = len(MAGIC) + 4
        end = start + int.from_bytes(data[len(MAGIC) : start], "little")
        return Engine(self, json.loads(data[start:end]), data[end:])

    def error(self, message: str) -> None:
        logger: Any = self.logger()
        assert logger is not None, "the logger went before its runtime"
        logger.log(Severity.INFO, "nothing to see here")
        logger.log(Severity.ERROR, message)


class Engine:
    def __init__(self, runtime: Runtime, description: dict[str, Any], model: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(model, options)
        self.fake, self._runtime = runtime.fake, weakref.ref(runtime)
        self.tensors, self.profiles, self.aliased = (description[key] for key in ("tensors", "profiles", "aliased"))
        self.names = list(self.tensors)
        self.num_io_tensors, self.num_optimization_profiles = len(self.names), len(self.profiles)
        self.weight_streaming_budget_v2 = -1

    @property
    def runtime(self) -> Runtime:
        runtime = self._runtime()
        assert runtime is not None, "the runtime went before its engine"
        return runtime

    def get_tensor_name(self, index: int) -> str:
        return str(self.names[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self.tensors[name]["mode"]]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.tensors[name]["dtype"]]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation[self.tensors[name].get("location", "DEVICE")]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name]["shape"])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.profiles[index][name]]

    def get_aliased_input_tensor(self, name: str) -> str | None:
        return self.aliased.get(name)

    def get_weight_streaming_automatic_budget(self) -> int:
        return 4096

    def create_runtime_config(self) -> Any:
        config = types.SimpleNamespace(strategy=None, cuda_graph_strategy=None)
        config.set_execution_context_allocation_strategy = lambda strategy: setattr(config, "strategy", strategy)
        return config

    def create_execution_context(self, how: Any) -> Context:
        strategy = how if isinstance(how, Strategy) else how.strategy
        assert strategy is Strategy.USER_MANAGED
        context = Context(self, getattr(how, "cuda_graph_strategy", None))
        self.fake.contexts.append(context)
        return context


class Context:
    def __init__(self, engine: Engine, graph_strategy: Any) -> None:
        self._engine = weakref.ref(engine)
        self.session, self.fake, self.graph_strategy = engine.session, engine.fake, graph_strategy
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.workspace = (0, 0)
        self.version = 0  # counts what changes the context
        self._ran: dict[str, tuple[int, ...]] = {}

    @property
    def engine(self) -> Engine:
        engine = self._engine()
        assert engine is not None, "the engine went before its context"
        return engine

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return index < self.engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.version += 1
        assert self.profile is not None
        least, _, most = self.engine.profiles[self.profile][name]
        if len(shape) != len(least) or not all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True)):
            self.engine.runtime.error(f"Static dimension mismatch while setting input shape for {name}")
            return False
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.version += 1
        self.addresses[name] = address
        return name in self.engine.tensors

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Work out an output's shape as TensorRT would: here, by running the graph on zeros."""
        if name in self.shapes:
            return self.shapes[name]
        kinds = {item: NUMPY[self.engine.tensors[item]["dtype"]] for item in self.engine.tensors}
        feeds = {item: np.zeros(shape, kinds[item]) for item, shape in self.shapes.items()}
        outputs = [node.name for node in self.session.get_outputs()]
        found = dict(zip(outputs, self.session.run(outputs, feeds), strict=True))
        return tuple(found[name].shape)

    def update_device_memory_size_for_shapes(self) -> int:
        missing = [n for n, t in self.engine.tensors.items() if t["mode"] == "INPUT" and n not in self.shapes]
        assert not missing, f"no shape for {missing}"
        return 512 + 16 * sum(int(np.prod(shape)) for shape in self.shapes.values())

    def set_device_memory(self, address: int, nbytes: int) -> None:
        self.version += 1
        self.workspace = (address, nbytes)

    def execute_async_v3(self, stream: int) -> bool:
        cuda, recording = self.fake.cuda, self.fake.cuda.is_recording(stream)
        assert self.profile is not None
        if missing := [name for name in self.engine.tensors if name not in self.addresses]:
            self.engine.runtime.error(f"no address for {missing}")
            return False
        if self.workspace[1] < self.update_device_memory_size_for_shapes():
            self.engine.runtime.error("the device memory is too small")
            return False
        if recording and (not self.fake.captures or self._ran != self.shapes):
            self.engine.runtime.error("operation not permitted when stream is capturing")
            return False
        self._ran = dict(self.shapes)
        self.fake.runs.append((self.profile, recording))
        shapes, addresses, workspace, version = dict(self.shapes), dict(self.addresses), self.workspace, self.version

        def work() -> None:
            if recording and self.version != version:
                cuda.violations.append("a context was changed after it was recorded")
            cuda.on_device(*workspace)[:] = GARBAGE
            feeds = {}
            for name, shape in shapes.items():
                kind = np.dtype(NUMPY[self.engine.tensors[name]["dtype"]])
                nbytes = int(np.prod(shape)) * kind.itemsize
                feeds[name] = cuda.on_device(addresses[name], nbytes).copy().view(kind).reshape(shape)
            self._check(feeds, addresses)
            outputs = [node.name for node in self.session.get_outputs()]
            for name, value in zip(outputs, self.session.run(outputs, feeds), strict=True):
                data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                cuda.on_device(addresses[name], len(data))[:] = data

        cuda.enqueue(stream, work)
        return True

    def _check(self, feeds: dict[str, Any], addresses: dict[str, int]) -> None:
        """TensorRT would not notice; here it is written down."""
        said = self.fake.cuda.violations
        for output, past in self.engine.aliased.items():
            if addresses[output] != addresses[past]:
                said.append(f"{output} is not where {past} is")
            at, seq = feeds["write_indices"], feeds["input_ids"].shape[1]
            if (at < 0).any() or (at + seq > feeds[past].shape[2]).any():
                said.append(f"{output} is written past its end")
        taken = sorted((a, feeds[name].nbytes, name) for name, a in addresses.items() if name in feeds)
        for (start, nbytes, name), (following, _, other) in itertools.pairwise(taken):
            if start + nbytes > following:
                said.append(f"{name} and {other} overlap")
