"""The child process that builds engines, with small packages in place of TensorRT that crash, print or fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import archc
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.process import BuildRequest, build_engine

# All that a build needs up to the parser, which then runs BODY.
PACKAGE = """
import os, signal, sys, time
from pathlib import Path
__version__ = "1.7.0"
class ILogger:
    ERROR, INTERNAL_ERROR = "error", "internal error"
class Builder:
    def __init__(self, log):
        self.log = log
    def create_network(self, flags):
        return None
class OnnxParser:
    def __init__(self, network, log):
        self.log = log
    def parse_from_file(self, path):
        BODY
"""
PARENT = """
import json, signal, sys
from archc.compiler.output.tensorrt.process import BuildRequest, build_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
build_engine(BuildRequest(**json.loads(sys.argv[1])))
"""


def request(folder: Path, body: str) -> BuildRequest:
    """A request for a package that runs this; the package lies in the folder."""
    (folder / "tensorrt_rtx.py").write_text(PACKAGE.replace("BODY", body))
    return BuildRequest("tensorrt-rtx", str(folder), "model.onnx", "engine.trt", [], ["8.9"], False, None)


def reason(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(BuildError) as raised:
        build_engine(request(folder, body))
    return str(raised.value)


def test_a_crash_is_reported_with_the_last_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "self.log.log('error', 'no  kernel'); self.log.log('info', 'a word'); os.kill(os.getpid(), signal.SIGSEGV)"
    message = reason(tmp_path, body, monkeypatch)
    assert message.startswith("model.onnx: tensorrt-rtx cannot build it: TensorRT's compiler crashed (SIGSEGV)")
    assert "another --dtype" in message
    assert message.endswith(". Its last output: no kernel")
    assert "\n" not in message


def test_an_abort_is_reported_with_its_last_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "[print(i, file=sys.stderr) for i in range(9999)]; sys.stderr.flush(); os.abort()"
    message = reason(tmp_path, body, monkeypatch)
    assert "(SIGABRT)" in message
    assert message.endswith("Its last output: 9995 | 9996 | 9997 | 9998")


def test_the_child_finds_archc_without_an_import_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = {Path(entry).resolve().parent for entry in archc.__path__}
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).resolve() not in homes])
    monkeypatch.chdir(tmp_path)
    assert "Its last output: a word" in reason(tmp_path, "print('a word', flush=True); os.abort()", monkeypatch)


def test_a_killed_process_probably_ran_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = reason(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", monkeypatch)
    assert "killed (SIGKILL), probably because memory ran out" in message
    assert "--max-seq-len" in message
    assert message.endswith("It printed nothing")
    assert "there is not enough memory; free memory, or build with a smaller" in reason(
        tmp_path, "raise MemoryError", monkeypatch
    )


def test_an_exception_of_the_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = reason(tmp_path, "raise RuntimeError('an unexpected error')", monkeypatch)
    assert "ended with status 1" in message
    assert message.endswith("RuntimeError: an unexpected error")


BUILDING = """
__version__ = "11.4.0"
class ILogger:
    ERROR, INTERNAL_ERROR = "error", "internal error"
class LayerType:
    KV_CACHE_UPDATE, ATTENTION_INPUT = "cache", "attention"
class BuilderFlag:
    WEIGHT_STREAMING = "streaming"
class Layer:
    type = "cache"
class Network:
    num_layers = 3
    def get_layer(self, index):
        return Layer()
class Cache:
    def __init__(self, data):
        self.data = data
    def serialize(self):
        return self.data + b"+"
class Profile(list):
    def set_shape(self, *shapes):
        self.append(shapes)
class Config:
    def __init__(self):
        self.said, self.profiles = [], []
        self.set_flag = self.said.append
        self.add_optimization_profile = self.profiles.append
    def create_timing_cache(self, data):
        return Cache(data)
    def set_timing_cache(self, cache, other_devices):
        self.cache = cache
        return not other_devices and cache.data != b"no cache"
    def get_timing_cache(self):
        return self.cache
class Builder:
    def __init__(self, log):
        self.log = log
    def create_network(self, flags):
        return Network()
    create_builder_config = Config
    create_optimization_profile = Profile
    def build_serialized_network(self, network, config):
        if config.profiles == []:
            return self.log.log("error", "too few profiles")
        return repr((config.said, config.profiles)).encode()
class OnnxParser:
    def __init__(self, network, log):
        pass
    def parse_from_file(self, path):
        return path.endswith("model.onnx")
"""


def test_an_engine_is_built_as_requested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "tensorrt.py").write_text(BUILDING)
    cache = tmp_path / "cache"
    profiles = [{"x": ((1, 4), (2, 4), (3, 4))}, {"x": ((1, 4), (1, 4), (1, 4))}]
    build_request = BuildRequest(
        "tensorrt", str(tmp_path), "model.onnx", "engine.trt", profiles, ["9.0"], True, str(cache)
    )
    for timings in (b"+", b"++"):
        report = build_engine(build_request)
        assert (report.cache_updates, report.attentions) == (3, [])
        assert cache.read_bytes() == timings
    config = "(['streaming'], [[('x', [1, 4], [2, 4], [3, 4])], [('x', [1, 4], [1, 4], [1, 4])]])"
    assert (tmp_path / "engine.trt").read_text() == config
    with pytest.raises(
        BuildError, match=r"model\.onnx: TensorRT cannot build it: too few profiles; try another --dtype, .*ort-cuda"
    ):
        build_engine(replace(build_request, profiles=[]))
    cache.write_bytes(b"no cache")
    with pytest.raises(BuildError, match="cache: not a timing cache of this TensorRT version and GPU"):
        build_engine(build_request)
    assert not list(tmp_path.glob(".cache*"))


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = reason(tmp_path, "raise OSError(28, 'No space left on device')", monkeypatch)
    assert message == "the engine of model.onnx: cannot be read or written: No space left on device"


def test_the_child_refuses_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", PACKAGE.replace("1.7.0", "1.8.0"))
    assert "from 1.7 to below 1.8, got 1.8.0" in reason(tmp_path, "pass", monkeypatch)


def test_a_python_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert "does not start" in reason(tmp_path, "pass", monkeypatch)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_it_ends_with_its_parent(end: signal.Signals, tmp_path: Path) -> None:
    body = "Path(path).with_name('pid').write_text(str(os.getpid())); time.sleep(600)"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(asdict(request(tmp_path, body)))],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
    )
    until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    os.kill(child, signal.SIGINT)  # as a terminal does; only the parent ends it
    parent.send_signal(end)
    assert parent.wait(60) != 0
    until(lambda: not alive(child))


def until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
