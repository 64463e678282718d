"""ONNX Runtime with a CUDA provider that is not there: its sessions compute on the CPU, and count what crosses over."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from archc.plan.dtypes import DTYPES

STORAGE = {dtype.onnx: dtype.storage for dtype in DTYPES.values()}
CUDA = "CUDAExecutionProvider"


class FakeOrt:
    """Takes the place of parts of the onnxruntime module."""

    def __init__(self, monkeypatch: Any, falls_back: bool = False) -> None:
        self.crossed: list[tuple[str, int]] = []
        self.options: list[dict[str, str]] = []
        self.replays: list[int] = []
        self.graphs: dict[int, Any] = {}
        self.released: list[int] = []
        self.preloaded = 0
        fake, real = self, onnxruntime.InferenceSession

        class OrtValue:
            def __init__(self, data: Any, device: str) -> None:
                self.data, self.device = data, device

            @staticmethod
            def ortvalue_from_numpy_with_onnx_type(array: Any, onnx_type: int) -> OrtValue:
                assert array.dtype == STORAGE[onnx_type]
                return OrtValue(array, "cpu")

            @staticmethod
            def ortvalue_from_shape_and_type(shape: Any, onnx_type: int, device: str, index: int) -> OrtValue:
                data = np.empty(shape, STORAGE[onnx_type])
                data.reshape(-1).view(np.uint8)[:] = 0xFF
                return OrtValue(data, device)

            def data_ptr(self) -> int:
                return int(self.data.ctypes.data)

            def update_inplace(self, other: OrtValue) -> None:
                assert self.data.shape == other.data.shape
                assert self.data.dtype == other.data.dtype
                fake.crossed.append(("up" if self.device == "cuda" else "down", other.data.nbytes))
                self.data[...] = other.data

        class Binding:
            def __init__(self) -> None:
                self.inputs: dict[str, OrtValue] = {}
                self.outputs: dict[str, OrtValue] = {}

            def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
                self.inputs[name] = value

            def bind_cpu_input(self, name: str, array: Any) -> None:
                self.inputs[name] = OrtValue(array, "cpu")

            def bind_ortvalue_output(self, name: str, value: OrtValue) -> None:
                self.outputs[name] = value

            def clear_binding_outputs(self) -> None:
                self.outputs.clear()

        class Session:
            def __init__(self, model: bytes, options: Any, providers: Any) -> None:
                (name, given), cpu = providers
                assert (name, cpu) == (CUDA, "CPUExecutionProvider")
                fake.options.append(given)
                self.records = given["enable_cuda_graph"] == "1"
                self.real = real(model, options, providers=[cpu])

            def get_providers(self) -> list[str]:
                return ["CPUExecutionProvider"] if falls_back else [CUDA, "CPUExecutionProvider"]

            def get_inputs(self) -> Any:
                return self.real.get_inputs()

            def get_outputs(self) -> Any:
                return self.real.get_outputs()

            def io_binding(self) -> Binding:
                return Binding()

            def release_captured_graph(self, graph: int) -> None:
                fake.released.append(graph)
                fake.graphs.pop(graph)

            def run_with_iobinding(self, io: Binding, options: Any = None) -> None:
                graph = int(options.get_run_config_entry("gpu_graph_id")) if options is not None else -1
                assert self.records or graph == -1
                assert not self.records or options is not None, "a run of a recording session needs its number"
                if graph != -1:
                    values = {**io.inputs, **io.outputs}
                    assert all(value.device == "cuda" for value in values.values()), "only the device is recorded"
                    assert not any(value.data.size == 0 for value in values.values())
                    places = {name: (value.data_ptr(), value.data.shape) for name, value in values.items()}
                    assert fake.graphs.setdefault(graph, places) == places, "a recorded graph knows other addresses"
                    fake.replays.append(graph)
                # A graph is recorded in the course of several runs of the same inputs.
                for _ in range(3 if graph != -1 and fake.replays.count(graph) == 1 else 1):
                    self._run(io)

            def _run(self, io: Binding) -> None:
                feeds = {name: value.data for name, value in io.inputs.items()}
                fake.crossed += [("up", v.data.nbytes) for v in io.inputs.values() if v.device == "cpu"]
                fake.crossed += [("down", v.data.nbytes) for v in io.outputs.values() if v.device == "cpu"]
                found = self.real.run(list(io.outputs), feeds)
                for value, result in zip(io.outputs.values(), found, strict=True):
                    assert value.data.shape == result.shape
                    value.data[...] = result

        def preload() -> None:
            self.preloaded += 1

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "OrtValue", OrtValue)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
