"""Engines that must not run: of another device, of another version, or different from the manifest."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from archc import runtime
from archc.plan import Plan
from archc.runtime import BackendError, PlanError
from tests.runtime.fakes.cuda import FakeCuda, cudaError_t
from tests.runtime.fakes.plans import greedy, write_engine_plan
from tests.runtime.fakes.trt import FakeTensorRt


@pytest.fixture
def cuda(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(cuda).module)
    yield cuda
    gc.collect()
    assert cuda.violations == []
    assert cuda.memory == {}


@pytest.fixture
def write(tiny, tmp_path):
    """Write the tiny decoder's plan after `change` of its manifest and of the description of its engine."""

    def written(change=None, **options):
        model, manifest, data = tiny.model()
        greedy(model, manifest)
        return write_engine_plan(tmp_path / "engine.plan", model, manifest, data, change=change, **options)

    return written


def refused(plan, kind, said):
    with pytest.raises(kind, match=said):
        runtime.load(plan)


def test_without_a_device_nothing_of_tensorrt_is_touched(cuda, write, monkeypatch):
    class Crashes:
        def __getattr__(self, name):
            raise AssertionError(f"tensorrt.{name} is used where there is no device")

    monkeypatch.setitem(sys.modules, "tensorrt", Crashes())
    plan = write()
    cuda.devices = 0
    refused(plan, BackendError, r"no NVIDIA GPU found.*none is visible.*nvidia-smi.*--target ort-cpu")
    cuda.no_device = cudaError_t.cudaErrorInsufficientDriver
    refused(plan, BackendError, r"cudaErrorInsufficientDriver: errorinsufficientdriver")
    cuda.devices, cuda.no_device, cuda.capability = 1, cudaError_t.cudaSuccess, (8, 6)
    refused(
        plan, BackendError, r"requires compute capability 9\.0, and this GPU has 8\.6; rebuild the plan on this machine"
    )


@pytest.mark.parametrize(
    ("missing", "name"), [("cuda.bindings.runtime", "cuda-python"), ("tensorrt", "TensorRT")], ids=["cuda", "tensorrt"]
)
def test_a_missing_package_is_an_error_with_the_install_command(cuda, write, monkeypatch, missing, name):
    monkeypatch.setitem(sys.modules, missing, None)
    refused(write(), BackendError, rf"{name} cannot be imported.*; install it, .*archc-compiler\[tensorrt\]")


def test_a_missing_tensorrt_for_rtx_is_an_error_with_the_install_command(cuda, write, monkeypatch):
    def change(manifest, described):
        manifest["target"] = "tensorrt-rtx"
        manifest["engine"]["builder"] = "tensorrt_rtx"

    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    refused(write(change), BackendError, r"TensorRT for RTX cannot be imported.*; install it, .*archc-compiler\[rtx\]")


def test_an_engine_for_other_rtx_gpus_says_which_one_to_name(cuda, write):
    def change(manifest, described):
        manifest["target"] = "tensorrt-rtx"
        manifest["engine"]["builder"] = "tensorrt_rtx"

    cuda.capability = (7, 5)
    refused(
        write(change, keep_graph=True), BackendError, r"has 7\.5; .* --target tensorrt-rtx --compute-capability 7\.5$"
    )


def test_another_version_says_how_to_rebuild(cuda, write):
    def change(manifest, described):
        manifest["engine"]["version"] = "11.3.0.1"

    message = r"requires TensorRT 11\.3\.0\.1, and 11\.4\.0\.12 is installed; install tensorrt 11\.3"
    refused(write(change), BackendError, message + r".*from its checkpoint with --target tensorrt")
    refused(write(change, keep_graph=True), BackendError, message + r".*archc build \S*engine\.plan --target tensorrt")


def test_a_damaged_engine_is_refused_with_the_logs_reason(cuda, write):
    plan = write()
    with Plan(plan) as opened:
        start = opened.offset("engine.trt")
    data = bytearray(plan.read_bytes())
    data[start : start + 4] = b"\0\0\0\0"
    plan.write_bytes(data)
    refused(
        plan,
        PlanError,
        r"TensorRT cannot load engine\.trt \(magicTag mismatch: the engine is damaged\); rebuild the plan",
    )


def test_an_engine_that_makes_tensorrt_raise_is_a_plan_error(cuda, write, monkeypatch):
    monkeypatch.setattr(
        "tests.runtime.fakes.trt.Engine.__init__", lambda *_: (_ for _ in ()).throw(RuntimeError("bad"))
    )
    refused(write(), PlanError, r"TensorRT cannot load engine\.trt: bad \(no reason was logged\); build the plan again")


def tensor(name, **values):
    return lambda manifest, described: described["tensors"][name].update(values)


def alias(**pairs):
    return lambda manifest, described: described.update(aliased=pairs)


def without_profile(manifest, described):
    described["profiles"].pop()


def narrower(manifest, described):
    described["profiles"][0]["input_ids"][2] = [3, 32]


def extra(manifest, described):
    described["tensors"]["surprise"] = {"mode": "INPUT", "dtype": "FLOAT", "shape": [1]}


ENGINES = {
    "additional tensor": (extra, "tensor 'surprise': expected in both engine and manifest"),
    "other type": (
        tensor("input_ids", dtype="FLOAT"),
        r"'input_ids': int64 input in the manifest, but DataType\.FLOAT",
    ),
    "other direction": (tensor("logits", mode="INPUT"), r"'logits': float32 output in the manifest, but .* input"),
    "host memory": (tensor("logits", location="HOST"), "'logits' is in host memory"),
    "other vocabulary": (
        tensor("logits", shape=[-1, -1, 265]),
        r"'logits': \['batch', 'n', 264\] in the manifest, but \[-1, -1, 265\]",
    ),
    "other rank": (tensor("input_ids", shape=[-1]), r"'input_ids': \['batch', 'seq'\] in the manifest, but \[-1\]"),
    "other capacity": (
        tensor("past_key_values.0.key", shape=[-1, 2, 32, 8]),
        r"\['batch', 2, 'capacity', 8\] in the manifest, but \[-1, 2, 32, 8\]",
    ),
    "dynamic capacity": (
        tensor("past_key_values.0.key", shape=[-1, 2, -1, 8]),
        r"\['batch', 2, 'capacity', 8\] in the manifest, but \[-1, 2, -1, 8\]",
    ),
    "missing profile": (without_profile, "expected 2 optimization profiles as in the manifest, got 1"),
    "narrower profile": (
        narrower,
        r"'input_ids' in profile 'prefill': axis 'seq': \[1, 2, 64\] in the manifest, but \[1, 2, 32\]",
    ),
    "cache not in place": (
        alias(**{"present.0.key": "past_key_values.0.key"}),
        "'present.0.value' is state of kind kv, but the engine does not write it in place",
    ),
    "swapped caches": (
        alias(**{"present.0.key": "past_key_values.0.value", "present.0.value": "past_key_values.0.key"}),
        "'present.0.key' is state of kind kv, but the engine writes it in place of 'past_key_values.0.value'",
    ),
}


@pytest.mark.parametrize(("change", "message"), ENGINES.values(), ids=ENGINES)
def test_an_engine_that_differs_from_the_manifest_is_refused_before_it_runs(cuda, write, change, message):
    refused(write(change), PlanError, message)
    assert "cudaMalloc" not in cuda.calls


def test_an_axis_of_one_size_may_be_written_into_the_engine(cuda, write):
    def change(manifest, described):
        for profile in manifest["engine"]["profiles"]:
            profile["axes"]["batch"] = [2, 2, 2]
        for bounds in described["profiles"]:
            for shapes in bounds.values():
                for shape in shapes:
                    shape[0] = 2
        described["tensors"]["input_ids"]["shape"][0] = 2

    engine = runtime.load(write(change))
    assert len(engine.generate([[1], [2]], 3, ignore_eos=True)) == 2
    with pytest.raises(runtime.EngineError, match=r"no optimization profile of the engine includes the sizes batch 1"):
        engine.generate([[1]], 3)


def engine_of(manifest):
    return manifest["engine"]


def axes_of(manifest, index=0):
    return engine_of(manifest)["profiles"][index]["axes"]


MANIFESTS = {
    "no engine": (lambda m: m.update(engine=None), "engine: expected one for each graph with target tensorrt or"),
    "engine of another target": (lambda m: m.update(target="ort-cpu"), "engine: expected one for each graph with"),
    "engine of the other package": (lambda m: m.update(target="tensorrt-rtx"), "tensorrt does not match target"),
    "file outside of the plan": (lambda m: engine_of(m).update(file="../engine.trt"), "engine.file"),
    "file of the encoder": (lambda m: engine_of(m).update(file="encoder.trt"), "expected the file engine.trt"),
    "unknown builder": (lambda m: engine_of(m).update(builder="os"), "engine.builder"),
    "version with a command": (lambda m: engine_of(m).update(version="11.4; rm -rf"), "engine.version"),
    "no devices": (lambda m: engine_of(m).update(compute_capabilities=[]), "compute_capabilities"),
    "incomplete capability": (lambda m: engine_of(m).update(compute_capabilities=["9"]), "compute_capabilities"),
    "no profiles": (lambda m: engine_of(m).update(profiles=[]), "engine.profiles"),
    "minimum over optimum": (
        lambda m: axes_of(m).update(seq=[4, 2, 64]),
        "axis 'seq': expected minimum .* got 4, 2, 64",
    ),
    "size 0": (lambda m: axes_of(m).update(seq=[0, 1, 64]), "Expected `int` >= 1"),
    "two sizes": (lambda m: axes_of(m).update(seq=[1, 1]), "length 3, got 2"),
    "axis in one profile": (lambda m: axes_of(m).pop("seq"), "expected the same axes in every profile"),
    "axis in no profile": (lambda m: [axes_of(m, i).pop("total") for i in (0, 1)], "axis 'total': expected in both"),
    "unknown axis": (
        lambda m: [axes_of(m, i).update(other=[1, 1, 1]) for i in (0, 1)],
        "axis 'other': expected in both",
    ),
    "repeated profile": (lambda m: engine_of(m)["profiles"][1].update(name="prefill"), "distinct profile names"),
    "small capacity": (lambda m: engine_of(m).update(capacity=63), "engine.capacity: expected at least 64, got 63"),
    "no capacity": (lambda m: engine_of(m).update(capacity=None), "axis 'capacity': expected in both"),
    "absurd capacity": (lambda m: engine_of(m).update(capacity=2**50), "engine.capacity"),
    "cache that is not aliased": (
        lambda m: engine_of(m)["aliased"].pop(),
        "expected exactly the state of the kinds kv and block",
    ),
    "repeated alias": (lambda m: engine_of(m)["aliased"].append(engine_of(m)["aliased"][0]), "aliased twice"),
    "streaming as a number": (lambda m: engine_of(m).update(weight_streaming=1), "weight_streaming"),
    "unknown key": (lambda m: engine_of(m).update(surprise=1), "surprise"),
    "next_token alone": (lambda m: m["outputs"].pop(), "next_token, next_logit and logits together"),
    "next_token of another type": (lambda m: m["outputs"][1].update(dtype="int32"), "next_token: expected int64"),
    "next_logit of another type": (lambda m: m["outputs"][2].update(dtype="float16"), "next_logit: expected float32"),
    "next_token of another shape": (lambda m: m["outputs"][1].update(shape=["batch"]), "next_token: expected int64"),
    "ring buffers": (
        lambda m: (m["state"][0].update(kind="ring", window=4), m["limits"].update(max_call=8)),
        "ring buffers are not supported",
    ),
}


@pytest.mark.parametrize(("change", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_an_invalid_engine_section_is_refused(cuda, write, change, message):
    with pytest.raises(ValueError, match=message):  # the reader raises it as a PlanError
        write(lambda manifest, described: change(manifest))


def test_the_entries_are_those_of_the_engine(cuda, write, tiny, tmp_path):
    plan = write()
    with Plan(plan) as opened:
        assert set(opened.names) == {"engine.trt", "manifest.json"}
        with opened.mapped("engine.trt") as data:
            assert bytes(data) == opened.read("engine.trt")
    data = plan.read_bytes()
    plan.write_bytes(data.replace(b"engine.trt", b"engine.onx"))
    with pytest.raises(PlanError):
        Plan(plan)
    with pytest.raises(PlanError, match="the manifest has no such `engine`"):
        Plan(tiny.write(tmp_path / "p", extra={"engine.trt": b"12"}))


def test_importing_the_runtime_imports_neither_tensorrt_nor_cuda():
    code = (
        "import sys, archc.runtime.engine\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('cuda', 'tensorrt', 'onnxruntime')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
