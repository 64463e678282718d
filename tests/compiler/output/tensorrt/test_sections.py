"""Engine sections: packages, devices and profiles, without a package or a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import onnx_ir as ir
import pytest
from msgspec import convert
from msgspec.structs import replace

from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt import devices
from archc.compiler.output.tensorrt.devices import choose_devices, device_capability, set_devices
from archc.compiler.output.tensorrt.package import PACKAGES, load_package
from archc.compiler.output.tensorrt.profiles import make_profiles, needs_two_tokens, sizes_of
from archc.compiler.output.tensorrt.sections import EngineBuilder, EngineOptions, open_builder, refuse_options
from archc.plan import Limits
from archc.plan.records import Input, Output, State


def installed(monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> ModuleType:
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    members = {name: SimpleNamespace(name=name) for name in ("NONE", "CURRENT", "SM75", "SM86", "SM89", "SM120")}
    module.ComputeCapability = SimpleNamespace(__members__=members)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    return module


def decoder(max_call: int | None = 512) -> tuple[list[Input], list[Output], list[State], Limits]:
    def item(name: str, role: str, *shape: int | str, **more: object) -> Input:
        return convert({"name": name, "role": role, "dtype": "int64", "shape": shape, **more}, Input)

    mask = {"kind": "causal"}
    inputs = [
        item("input_ids", "token_ids", "batch", "seq"),
        item("attn_mask", "mask", "batch", 1, "seq", "total", mask=mask),
        item("logit_positions", "logit_positions", "batch", "asked"),
    ]
    output = {"name": "logits", "role": "logits", "dtype": "float16", "shape": ["batch", "asked", 100]}
    cache = {"kind": "kv", "input": "past", "output": "present", "dtype": "float16"}
    state = convert({**cache, "shape": ["batch", 2, "capacity", 16]}, State)
    return inputs, [convert(output, Output)], [state], Limits(max_seq_len=4096, max_call=max_call, vocab_size=100)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        BuildError, match=r'--target tensorrt: tensorrt cannot be imported .*install it: .*"archc-compiler\[tensorrt\]"'
    ):
        load_package("tensorrt")


@pytest.mark.parametrize(
    ("target", "version"),
    [("tensorrt", "10.13.0"), ("tensorrt", "12.0.1"), ("tensorrt-rtx", "1.8.0.2"), ("tensorrt", "")],
    ids=["older", "newer", "newer-rtx", "none"],
)
def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, target: str, version: str) -> None:
    name = target.replace("-", "_")
    installed(monkeypatch, name, version)
    with pytest.raises(
        BuildError, match=rf"expected {name} from .* to below .*, got {version}; install another version"
    ):
        load_package(target)


def test_tensorrt_builds_for_the_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    trt = installed(monkeypatch, "tensorrt", "11.4.0.12")
    monkeypatch.setattr(devices, "device_capability", lambda: "9.0")
    assert choose_devices("tensorrt", trt, ()) == ("9.0",)
    with pytest.raises(
        BuildError, match=r"--compute-capability 8\.9: tensorrt builds for the GPU of this machine, 9\.0"
    ):
        choose_devices("tensorrt", trt, ("8.9",))
    monkeypatch.setattr(devices, "device_capability", lambda: None)
    with pytest.raises(BuildError, match=r"no CUDA driver or device was found.*--target tensorrt-rtx"):
        choose_devices("tensorrt", trt, ())


def test_a_driver_without_a_device_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: 100))
    assert device_capability() is None


def test_the_capability_is_the_driver_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def attribute(place: object, which: int, device: object) -> int:
        place._obj.value = {75: 12, 76: 1}[which]  # type: ignore[attr-defined]
        return 0

    driver = SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGet=lambda place, index: 0, cuDeviceGetAttribute=attribute)
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: driver)
    assert device_capability() == "12.1"


def test_rtx_builds_for_several_and_for_those_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    trt = installed(monkeypatch, "tensorrt_rtx", "1.7.1.116")
    assert choose_devices("tensorrt-rtx", trt, ()) == ("8.6", "8.9", "12.0")
    assert choose_devices("tensorrt-rtx", trt, ("12.0", "7.5", "12.0")) == ("12.0", "7.5")
    with pytest.raises(BuildError, match=r"9\.0: not supported by tensorrt-rtx; choose from 7\.5, 8\.6, 8\.9, 12\.0"):
        choose_devices("tensorrt-rtx", trt, ("9.0",))
    calls = []
    config = SimpleNamespace(set_compute_capability=lambda capability, index: calls.append((capability.name, index)))
    set_devices(trt, config, ("12.0", "7.5"))
    assert config.num_compute_capabilities == 2
    assert calls == [("SM120", 0), ("SM75", 1)]


def test_a_decoder_has_a_profile_for_prompts_and_one_for_single_tokens() -> None:
    prefill, decode = make_profiles(*decoder(), batch=4)
    assert (prefill.name, decode.name) == ("prefill", "decode")
    assert prefill.axes == {"batch": (1, 1, 4), "seq": (1, 512, 512), "total": (1, 512, 4096), "asked": (1, 1, 512)}
    assert decode.axes == {"batch": (1, 1, 4), "seq": (1, 1, 1), "total": (1, 512, 4096), "asked": (1, 1, 1)}
    assert sizes_of(prefill, ("batch", 7, "seq")) == ((1, 7, 1), (1, 7, 512), (4, 7, 512))


def test_a_prompt_that_must_come_whole_is_as_long_as_a_sequence() -> None:
    prefill, _ = make_profiles(*decoder(max_call=None), batch=1)
    assert prefill.axes["seq"] == (1, 512, 4096)


def test_a_decoding_step_may_allow_two_tokens() -> None:
    _, decode = make_profiles(*decoder(), batch=1, two_tokens=True)
    assert (decode.axes["seq"], decode.axes["asked"]) == ((1, 1, 2), (1, 1, 2))


@pytest.mark.parametrize(
    ("op_type", "stored", "two_tokens"),
    [
        pytest.param("DequantizeLinear", ir.DataType.INT8, True, id="int8"),
        pytest.param("DequantizeLinear", ir.DataType.FLOAT8E4M3FN, True, id="fp8"),
        pytest.param("DequantizeLinear", ir.DataType.INT4, False, id="int4"),
        pytest.param("MatMul", ir.DataType.FLOAT, False, id="float"),
        pytest.param("Scan", ir.DataType.FLOAT, True, id="loop"),
    ],
)
def test_loops_and_8_bit_weights_need_two_tokens(op_type: str, stored: ir.DataType, two_tokens: bool) -> None:
    x = ir.Value(name="x", shape=ir.Shape([2]), type=ir.TensorType(stored))
    node = ir.Node("", op_type, [x, x], num_outputs=1, name="node")
    graph = ir.Graph([x], node.outputs, nodes=[node], name="test")
    assert needs_two_tokens(ir.Model(graph, ir_version=11)) == two_tokens


def test_rtx_always_allows_two_tokens() -> None:
    inputs, outputs, state, limits = decoder()
    for target, second in (("tensorrt-rtx", 2), ("tensorrt", 1)):
        trt = SimpleNamespace(__version__="1.7.1")
        builder = EngineBuilder(PACKAGES[target], trt, ("8.9",), EngineOptions())
        section = builder.section("engine.trt", inputs, outputs, state, limits)
        assert section.profiles[1].axes["seq"] == (1, 1, second)


def test_an_encoder_has_one_profile() -> None:
    inputs, outputs, _, limits = decoder()
    (profile,) = make_profiles(inputs[:1], outputs, (), replace(limits, max_call=None), batch=2)
    assert profile.name == "encode"
    assert profile.axes == {"batch": (1, 1, 2), "seq": (1, 512, 4096), "asked": (1, 512, 4096)}


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(max_batch_size=2),
        EngineOptions(compute_capabilities=("8.6",)),
        EngineOptions(weight_streaming=True),
        EngineOptions(timing_cache=Path("cache")),
        EngineOptions(keep_graph=True),
    ],
    ids=["batch-size", "capability", "streaming", "timing-cache", "graph"],
)
def test_an_option_of_engines_is_refused_elsewhere(options: EngineOptions) -> None:
    with pytest.raises(BuildError, match="not supported by ort-cpu, only by tensorrt and tensorrt-rtx; leave it out"):
        refuse_options("ort-cpu", options)
    refuse_options("ort-cpu", EngineOptions())


def test_options_out_of_range() -> None:
    with pytest.raises(BuildError, match="--max-batch-size 0"):
        open_builder("tensorrt-rtx", EngineOptions(max_batch_size=0))
    with pytest.raises(
        BuildError, match="--timing-cache: not supported by tensorrt-rtx, which tunes kernels at run time"
    ):
        open_builder("tensorrt-rtx", EngineOptions(timing_cache=Path("cache")))
    with pytest.raises(BuildError, match="--timing-cache nowhere/cache: its folder does not exist"):
        open_builder("tensorrt", EngineOptions(timing_cache=Path("nowhere/cache")))
