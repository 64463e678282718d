"""The process that builds engines, with packages of a few lines in TensorRT's place that do what it should survive."""

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

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt.process import Order, build_engine

# What the builder needs up to the parser, which then does `body`.
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
ORDERER = """
import json, signal, sys
from archc.compiler.output.tensorrt.process import Order, build_engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
build_engine(Order(**json.loads(sys.argv[1])))
"""


def order(folder: Path, body: str) -> Order:
    """An order for a package that does this; the package lies in the folder."""
    (folder / "tensorrt_rtx.py").write_text(PACKAGE.replace("BODY", body))
    return Order("tensorrt-rtx", str(folder), "model.onnx", "engine.trt", [], ["8.9"], False, None)


def reason(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(BuildError) as raised:
        build_engine(order(folder, body))
    return str(raised.value)


def test_a_crash_is_told_with_what_was_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "self.log.log('error', 'no  kernel'); self.log.log('info', 'a word'); os.kill(os.getpid(), signal.SIGSEGV)"
    told = reason(tmp_path, body, monkeypatch)
    assert told.startswith("tensorrt-rtx cannot build model.onnx: TensorRT's own compiler crashed (SIGSEGV)")
    assert "another --dtype" in told
    assert told.endswith(". It printed: no kernel")
    assert "\n" not in told


def test_an_abort_shows_its_last_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "[print(i, file=sys.stderr) for i in range(9999)]; sys.stderr.flush(); os.abort()"
    told = reason(tmp_path, body, monkeypatch)
    assert "(SIGABRT)" in told
    assert told.endswith("It printed: 9995 | 9996 | 9997 | 9998")


def test_who_is_killed_wanted_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reason(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)", monkeypatch)
    assert "killed (SIGKILL), as systems do for want of memory" in told
    assert "--max-seq-len" in told
    assert told.endswith("It printed nothing")
    assert "there is not enough memory" in reason(tmp_path, "raise MemoryError", monkeypatch)


def test_what_the_package_raises_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reason(tmp_path, "raise RuntimeError('what is this?')", monkeypatch)
    assert "ended with status 1" in told
    assert told.endswith("RuntimeError: what is this?")


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
    def set_shape(self, *given):
        self.append(given)
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


def test_what_is_ordered_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "tensorrt.py").write_text(BUILDING)
    cache = tmp_path / "cache"
    profiles = [{"x": ((1, 4), (2, 4), (3, 4))}, {"x": ((1, 4), (1, 4), (1, 4))}]
    wanted = Order("tensorrt", str(tmp_path), "model.onnx", "engine.trt", profiles, ["9.0"], True, str(cache))
    for made in (b"+", b"++"):
        account = build_engine(wanted)
        assert (account.cache_updates, account.attentions) == (3, [])
        assert cache.read_bytes() == made
    said = "(['streaming'], [[('x', [1, 4], [2, 4], [3, 4])], [('x', [1, 4], [1, 4], [1, 4])]])"
    assert (tmp_path / "engine.trt").read_text() == said
    with pytest.raises(BuildError, match=r"cannot build model\.onnx: too few profiles; another --dtype, .*ort-cuda"):
        build_engine(replace(wanted, profiles=[]))
    cache.write_bytes(b"no cache")
    with pytest.raises(BuildError, match="is no timing cache of this TensorRT and device"):
        build_engine(wanted)
    assert not list(tmp_path.glob(".cache*"))


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = reason(tmp_path, "raise OSError(28, 'No space left on device')", monkeypatch)
    assert told == "the engine of model.onnx: cannot be read or written: No space left on device"


def test_another_version_is_refused_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", PACKAGE.replace("1.7.0", "1.8.0"))
    assert "1.8.0 is installed" in reason(tmp_path, "pass", monkeypatch)


def test_a_python_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert "does not start" in reason(tmp_path, "pass", monkeypatch)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_parent(end: signal.Signals, tmp_path: Path) -> None:
    body = "Path(path).with_name('pid').write_text(str(os.getpid())); time.sleep(600)"
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    parent = subprocess.Popen(
        [sys.executable, "-c", ORDERER, json.dumps(asdict(order(tmp_path, body)))],
        env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
    child = int((tmp_path / "pid").read_text())
    assert alive(child)
    os.kill(child, signal.SIGINT)  # as a terminal does; it is the parent's to end it
    parent.send_signal(end)
    assert parent.wait(60) != 0
    until(lambda: not alive(child))


def until(condition) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs: one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
