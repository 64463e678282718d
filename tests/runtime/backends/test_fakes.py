"""The fakes have only functions, attributes and values of the real packages."""

from __future__ import annotations

import inspect

import pytest
import tensorrt_rtx as real_trt
from cuda.bindings import runtime as real_cuda

from archc.runtime.backends.tensorrt.engine import PACKAGES, Log
from tests.runtime.fakes import trt
from tests.runtime.fakes.cuda import FakeCuda, cudaDeviceAttr, cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode

PAIRS = [
    (trt.Runtime, real_trt.Runtime, {"error"}),
    (trt.Engine, real_trt.ICudaEngine, {"runtime"}),
    (trt.Context, real_trt.IExecutionContext, {"engine"}),
]


def public(kind):
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("fake", "real", "own"), PAIRS, ids=[fake.__name__ for fake, _, _ in PAIRS])
def test_methods_of_tensorrts_classes_exist(fake, real, own):
    assert public(fake) - own <= public(real)


def test_attributes_of_tensorrts_module_exist():
    module = trt.FakeTensorRt(FakeCuda(), rtx=True).module
    assert set(vars(module)) - {"__version__"} <= set(dir(real_trt))
    for name in ("TensorIOMode", "TensorLocation", "DataType"):
        assert {member.name for member in getattr(module, name)} <= public(getattr(real_trt, name))
    assert {member.name for member in trt.Strategy} <= public(real_trt.ExecutionContextAllocationStrategy)
    assert {member.name for member in trt.Severity} <= public(real_trt.ILogger.Severity)
    assert "WHOLE_GRAPH_CAPTURE" in public(real_trt.CudaGraphStrategy)
    assert {"set_execution_context_allocation_strategy", "cuda_graph_strategy"} <= public(real_trt.IRuntimeConfig)
    assert {"weight_streaming_budget_v2", "num_io_tensors", "num_optimization_profiles"} <= public(real_trt.ICudaEngine)
    assert set(PACKAGES) == {"tensorrt", real_trt.__name__}


def test_functions_and_numbers_of_cuda_python_exist():
    functions = {name for name in public(FakeCuda) if name.startswith("cuda")}
    assert len(functions) > 20
    assert functions <= set(dir(real_cuda))
    assert FakeCuda.cudaStreamNonBlocking == int(real_cuda.cudaStreamNonBlocking)
    for kind in (cudaDeviceAttr, cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode):
        real = getattr(real_cuda, kind.__name__)
        assert {member.name: int(member) for member in kind} == {
            member.name: int(getattr(real, member.name)) for member in kind
        }


def test_functions_of_cuda_python_take_as_many_arguments():
    for name, function in inspect.getmembers(FakeCuda, inspect.isfunction):
        if name.startswith("cuda"):
            signature = getattr(real_cuda, name).__doc__.splitlines()[0]
            arguments = signature.partition("(")[2].rpartition(")")[0]
            wanted = arguments.count(",") + 1 if arguments else 0
            assert len(inspect.signature(function).parameters) - 1 == wanted, signature


def test_the_log_hears_tensorrts_own_errors():
    log = Log(real_trt)
    builder = real_trt.Builder(log.logger)
    network = builder.create_network(0)
    parser = real_trt.OnnxParser(network, log.logger)
    assert log.take() == "no reason was logged"
    assert not parser.parse(b"no graph")
    assert "ONNX" in log.take()
    log.logger.log(real_trt.ILogger.Severity.ERROR, "two\n  lines")
    log.logger.log(real_trt.ILogger.Severity.WARNING, "not this")
    assert log.take() == "two lines"
