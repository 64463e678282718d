"""The ONNX Runtime backend: packages, providers, threads, buffers."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec

import numpy as np
import onnxruntime
import pytest

from archc import runtime
from archc.runtime import BackendError, EngineError
from archc.runtime.backends.ort import package
from archc.runtime.backends.threads import usable_cores


def test_two_packages_are_refused(monkeypatch, decoder_path, tmp_path):
    for name in ("onnxruntime", "onnxruntime-1.31.1.dist-info", "onnxruntime_gpu-1.31.1.dist-info"):
        (tmp_path / name).mkdir()
    found = ModuleSpec("onnxruntime", None, is_package=True)
    found.submodule_search_locations.append(str(tmp_path / "onnxruntime"))
    monkeypatch.setattr(package, "find_spec", lambda name: found)
    with pytest.raises(BackendError, match=r"both installed .* pip uninstall .*archc-compiler\[cpu\]"):
        runtime.load(decoder_path)


def test_no_package_says_what_to_install(monkeypatch, decoder_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=r"cannot be imported .*; install it, .*archc-compiler\[cpu\]"):
        runtime.load(decoder_path)


@pytest.mark.parametrize(("setting", "calls"), [(None, 1), ("0", 0)], ids=["by-default", "left-on"])
def test_telemetry_is_off(setting, calls, monkeypatch):
    seen = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: seen.append(True))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if setting is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", setting)
    package.import_onnxruntime("cpu")
    assert len(seen) == calls


def cuda(model, manifest):
    manifest["target"] = "ort-cuda"


def test_a_provider_that_is_not_installed_is_named(tiny, tmp_path):
    with pytest.raises(BackendError, match=r"CUDAExecutionProvider is not installed.*archc-compiler\[gpu\]"):
        runtime.load(tiny.write(tmp_path / "p", change=cuda))


def test_a_silent_fallback_to_the_cpu_is_loud(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.warns(UserWarning, match="CUDA"), pytest.raises(BackendError, match="fell back to CPU"):
        runtime.load(tiny.write(tmp_path / "p", change=cuda))


def test_threads_are_at_least_one_and_at_most_the_cpus():
    assert 1 <= usable_cores() <= (len(__import__("os").sched_getaffinity(0)))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_buffers_start_at_zero_and_grow_with_their_contents(decoder, dtype):
    backend = decoder._backend
    buffer = backend.allocate((2, 3, 4, 5), dtype)
    assert not buffer.read().any()
    buffer.host[:] = np.arange(120).reshape(2, 3, 4, 5)
    grown = backend.grown(buffer, 2, 7)
    assert grown.shape == (2, 3, 7, 5)
    assert np.array_equal(grown.read()[:, :, :4], buffer.read())
    assert not grown.read()[:, :, 4:].any()


def test_a_state_that_exceeds_the_memory_is_an_error(decoder):
    with pytest.raises(EngineError, match="not enough memory"):
        decoder._backend.allocate((1 << 20, 1 << 20, 1 << 20, 1 << 20), "float32")
    with pytest.raises(EngineError, match="not enough memory"):
        decoder._backend.allocate((1 << 50,), "float32")


def test_importing_the_runtime_imports_no_backend_and_no_compiler():
    code = (
        "import sys, archc.runtime.engine\n"
        "from archc import runtime\n"
        "assert runtime.load is archc.runtime.engine.load and 'Engine' in runtime.__all__\n"
        "heavy = {'onnxruntime', 'tokenizers', 'jinja2', 'torch', 'onnx'}\n"
        "heavy |= {'archc.compiler', 'archc.archspec', 'archc.cli'}\n"
        "bad = heavy & set(sys.modules)\n"
        "assert not bad, bad"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing"):
        _ = runtime.nothing
