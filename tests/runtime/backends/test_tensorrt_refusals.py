"""Engines that must not run here: another machine's, another version's, another's than the manifest says."""

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
    """Write the tiny decoder's plan after `change` to its manifest and to what its engine says of itself."""

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
    refused(plan, BackendError, r"needs an NVIDIA GPU.*none is visible.*nvidia-smi.*--target ort-cpu")
    cuda.no_device = cudaError_t.cudaErrorInsufficientDriver
    refused(plan, BackendError, r"cudaErrorInsufficientDriver: errorinsufficientdriver")
    cuda.devices, cuda.no_device, cuda.capability = 1, cudaError_t.cudaSuccess, (8, 6)
    refused(plan, BackendError, r"compute capability 9\.0, and this GPU has 8\.6: build it again on this machine")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("cuda.bindings.runtime", r'cuda-python cannot be imported.*pip install "archc\[tensorrt\]"'),
        ("tensorrt", r'TensorRT cannot be imported.*pip install "archc\[tensorrt\]"'),
    ],
)
def test_a_missing_package_says_what_to_install(cuda, write, monkeypatch, missing, said):
    monkeypatch.setitem(sys.modules, missing, None)
    refused(write(), BackendError, said)


def test_a_missing_tensorrt_for_rtx_says_what_to_install(cuda, write, monkeypatch):
    def change(manifest, described):
        manifest["target"] = "tensorrt-rtx"
        manifest["engine"]["builder"] = "tensorrt_rtx"

    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    refused(write(change), BackendError, r'TensorRT for RTX cannot be imported.*pip install "archc\[rtx\]"')


def test_an_engine_for_other_rtx_gpus_says_which_one_to_name(cuda, write):
    def change(manifest, described):
        manifest["target"] = "tensorrt-rtx"
        manifest["engine"]["builder"] = "tensorrt_rtx"

    cuda.capability = (7, 5)
    refused(
        write(change, keep_graph=True), BackendError, r"has 7\.5: .* --target tensorrt-rtx --compute-capability 7\.5$"
    )


def test_another_version_says_how_to_rebuild(cuda, write):
    def change(manifest, described):
        manifest["engine"]["version"] = "11.3.0.1"

    message = (
        r"built by TensorRT 11\.3\.0\.1, which alone can load it, and here is 11\.4\.0\.12: install tensorrt 11\.3"
    )
    refused(write(change), BackendError, message + r".*from its checkpoint with --target tensorrt")
    refused(write(change, keep_graph=True), BackendError, message + r".*archc build \S*engine\.plan --target tensorrt")


def test_a_damaged_engine_is_refused_with_the_logs_reason(cuda, write):
    plan = write()
    with Plan(plan) as opened:
        start = opened.offset("engine.trt")
    data = bytearray(plan.read_bytes())
    data[start : start + 4] = b"\0\0\0\0"
    plan.write_bytes(data)
    refused(plan, PlanError, r"TensorRT refuses engine\.trt: magicTag mismatch: the engine is damaged; build it again")


def test_an_engine_that_makes_tensorrt_raise_is_a_plan_error(cuda, write, monkeypatch):
    monkeypatch.setattr(
        "tests.runtime.fakes.trt.Engine.__init__", lambda *_: (_ for _ in ()).throw(RuntimeError("bad"))
    )
    refused(write(), PlanError, r"TensorRT refuses engine\.trt: bad; it gave no reason")


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (extra, "'surprise' is in only one of engine and manifest"),
        (tensor("input_ids", dtype="FLOAT"), "'input_ids' is int64 in the manifest, but DataType.FLOAT"),
        (tensor("logits", mode="INPUT"), "'logits' is float32 in the manifest.*goes the other way"),
        (tensor("logits", location="HOST"), "'logits' lies in the host's memory"),
        (tensor("logits", shape=[-1, -1, 265]), r"'logits' is \['batch', 'n', 264\].*, but \[-1, -1, 265\]"),
        (tensor("input_ids", shape=[-1]), r"'input_ids' is \['batch', 'seq'\] in the manifest, but \[-1\]"),
        (tensor("past_key_values.0.key", shape=[-1, 2, 32, 8]), r"\['batch', 2, 'capacity', 8\].*\[-1, 2, 32, 8\]"),
        (tensor("past_key_values.0.key", shape=[-1, 2, -1, 8]), r"\['batch', 2, 'capacity', 8\].*\[-1, 2, -1, 8\]"),
        (without_profile, "does not have the manifest's 2 profiles"),
        (narrower, r"'input_ids' in profile 'prefill'.* \[1, 2, 64\] for 'seq', and the engine \[1, 2, 32\]"),
        (alias(**{"present.0.key": "past_key_values.0.key"}), "'present.0.value' is of kind kv, but .* does not write"),
        (
            alias(**{"present.0.key": "past_key_values.0.value", "present.0.value": "past_key_values.0.key"}),
            "'present.0.key' is of kind kv, but the engine writes it over 'past_key_values.0.value'",
        ),
    ],
)  # fmt: skip
def test_an_engine_that_is_not_the_manifests_is_refused_before_it_runs(cuda, write, change, said):
    refused(write(change), PlanError, said)
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
    with pytest.raises(runtime.EngineError, match=r"no profile of this plan's engine has room for .*batch 1"):
        engine.generate([[1]], 3)


def engine_of(manifest):
    return manifest["engine"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(engine=None), "a plan for tensorrt or tensorrt-rtx, and no other, has an `engine`"),
        (lambda m: m.update(target="ort-cpu"), "a plan for tensorrt or tensorrt-rtx, and no other, has an `engine`"),
        (lambda m: m.update(target="tensorrt-rtx"), "`engine` is of tensorrt"),
        (lambda m: engine_of(m).update(file="../engine.trt"), "engine.file"),
        (lambda m: engine_of(m).update(file="encoder.trt"), "encoder.trt"),
        (lambda m: engine_of(m).update(builder="os"), "engine.builder"),
        (lambda m: engine_of(m).update(version="11.4; rm -rf"), "engine.version"),
        (lambda m: engine_of(m).update(compute_capabilities=[]), "compute_capabilities"),
        (lambda m: engine_of(m).update(compute_capabilities=["9"]), "compute_capabilities"),
        (lambda m: engine_of(m).update(profiles=[]), "engine.profiles"),
        (lambda m: engine_of(m)["profiles"][0]["axes"].update(seq=[4, 2, 64]), "'seq' has the sizes 4, 2, 64"),
        (lambda m: engine_of(m)["profiles"][0]["axes"].update(seq=[0, 1, 64]), "Expected `int` >= 1"),
        (lambda m: engine_of(m)["profiles"][0]["axes"].update(seq=[1, 1]), "length 3, got 2"),
        (lambda m: engine_of(m)["profiles"][0]["axes"].pop("seq"), "profiles have the same axes"),
        (lambda m: [p["axes"].pop("total") for p in engine_of(m)["profiles"]], "'total'"),
        (lambda m: [p["axes"].update(other=[1, 1, 1]) for p in engine_of(m)["profiles"]], "'other'"),
        (lambda m: engine_of(m)["profiles"][1].update(name="prefill"), "one name"),
        (lambda m: engine_of(m).update(capacity=63), "63 slots, fewer than limits.max_seq_len"),
        (lambda m: engine_of(m).update(capacity=None), "'capacity'"),
        (lambda m: engine_of(m).update(capacity=2**50), "engine.capacity"),
        (lambda m: engine_of(m)["aliased"].pop(), "`engine.aliased` is not the plan's state of kind kv"),
        (lambda m: engine_of(m)["aliased"].append(engine_of(m)["aliased"][0]), "aliased twice"),
        (lambda m: engine_of(m).update(weight_streaming=1), "weight_streaming"),
        (lambda m: engine_of(m).update(surprise=1), "surprise"),
        (lambda m: m["outputs"].pop(), "next_token and next_logit come together"),
        (lambda m: m["outputs"][1].update(dtype="int32"), "next_token is int64"),
        (lambda m: m["outputs"][2].update(dtype="float16"), "next_logit"),
        (lambda m: m["outputs"][1].update(shape=["batch"]), "next_token"),
        (
            lambda m: (m["state"][0].update(kind="ring", window=4), m["limits"].update(max_call=8)),
            "an engine has no rings",
        ),
    ],
)
def test_a_manifest_that_lies_about_its_engine_is_refused(cuda, write, change, said):
    with pytest.raises(ValueError, match=said):  # what the reader makes a PlanError of
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
    with pytest.raises(PlanError, match="manifest has no such engine"):
        Plan(tiny.write(tmp_path / "p", extra={"engine.trt": b"12"}))


def test_importing_the_runtime_imports_neither_tensorrt_nor_cuda():
    code = (
        "import sys, runtime; print([n for n in sys.modules if n.split('.')[0] in ('cuda', 'tensorrt', 'onnxruntime')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
