"""Plans with engines, built by TensorRT for RTX on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tensorrt_rtx
from onnx import TensorProto, helper

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.output.tensorrt import plan as module
from archc.compiler.output.tensorrt.network import parse
from archc.compiler.output.tensorrt.plan import check_report, is_plan, rebuild
from archc.compiler.output.tensorrt.sections import EngineOptions
from archc.plan import Plan
from archc.runtime.errors import PlanError

HYBRID = Path(__file__).parents[4] / "examples" / "hybrid.yaml"
SIZES = ["d_model=32", "d_ff=48", "num_layers=2", "num_heads=2", "vocab_size=60", "context_length=64"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that kept its graph."""
    options = EngineOptions(max_batch_size=3, compute_capabilities=("8.9",), keep_graph=True)
    out = tmp_path_factory.mktemp("engine") / "engine.plan"
    return build("small-lm", random=1, out=out, target="tensorrt-rtx", engine=options, overrides=SIZES)


def test_the_manifest_describes_the_engine(kept: Path) -> None:
    with Plan(kept) as plan:
        manifest = plan.manifest
        engine = manifest.engine
        assert engine is not None
        assert (manifest.target, manifest.dtype) == ("tensorrt-rtx", "float16")
        assert (engine.file, engine.builder, engine.version) == ("engine.trt", "tensorrt_rtx", tensorrt_rtx.__version__)
        assert engine.compute_capabilities == ("8.9",)
        assert [profile.name for profile in engine.profiles] == ["prefill", "decode"]
        assert {profile.axes["batch"] for profile in engine.profiles} == {(1, 1, 3)}
        assert engine.capacity == 64
        names = [f"{layer}.{part}" for layer in (0, 1) for part in ("key", "value")]
        assert engine.aliased == tuple((f"past_key_values.{name}", f"present.{name}") for name in names)
        assert manifest.state[0].shape == ("batch", 2, "capacity", 16)
        assert plan.names == ["engine.trt", "model.onnx", "weights.bin", "manifest.json"]
        assert plan.size("weights.bin") == max(tensor.offset + tensor.bytes for tensor in manifest.tensors)
        plan.verify_hashes()
        graph = onnx.load_model_from_string(plan.read("model.onnx"))
        past = next(value for value in graph.graph.input if value.name == "past_key_values.0.key")
        assert [size.dim_value for size in past.type.tensor_type.shape.dim][1:] == [2, 64, 16]


def test_the_engine_of_a_kept_graph_is_built_again(kept: Path, tmp_path: Path) -> None:
    assert is_plan(kept)
    options = EngineOptions(compute_capabilities=("8.6", "12.0"), weight_streaming=True)
    again = rebuild(kept, tmp_path / "again.plan", "tensorrt-rtx", options)
    with Plan(kept) as old, Plan(again) as new:
        assert new.names == ["engine.trt", "manifest.json"]
        engine = new.manifest.engine
        assert engine is not None
        assert engine.compute_capabilities == ("8.6", "12.0")
        assert engine.weight_streaming
        assert {profile.axes["batch"] for profile in engine.profiles} == {(1, 1, 1)}
        same = ("family", "spec", "config", "inputs", "outputs", "state", "limits", "tokens", "parameters")
        assert all(getattr(old.manifest, name) == getattr(new.manifest, name) for name in same)
        assert new.manifest.tensors == ()
    with pytest.raises(BuildError, match="has no graph to build from; build it from its spec, with --keep-graph"):
        rebuild(again, tmp_path / "third.plan", "tensorrt-rtx", EngineOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.plan"]


def test_a_plan_without_an_engine_is_not_rebuilt(tmp_path: Path) -> None:
    plan = build("small-lm", random=1, out=tmp_path / "cpu.plan", overrides=SIZES)
    with pytest.raises(BuildError, match="a plan for ort-cpu without an engine; build from its spec"):
        rebuild(plan, tmp_path / "out.plan", "tensorrt-rtx", EngineOptions())
    with pytest.raises(
        BuildError, match="only engines can be built from a plan; choose --target tensorrt or tensorrt-rtx"
    ):
        rebuild(plan, tmp_path / "out.plan", "ort-cpu", EngineOptions())
    assert not is_plan("small-lm")
    assert not is_plan(tmp_path)


def test_a_build_that_fails_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "engine.plan"
    out.write_bytes(b"older")

    def failing(*arguments: object) -> None:
        raise BuildError("model.onnx: TensorRT cannot build it: for a reason")

    monkeypatch.setattr(module, "build_engine", failing)
    with pytest.raises(BuildError, match="for a reason"):
        build("small-lm", random=1, out=out, target="tensorrt-rtx", overrides=SIZES)
    assert out.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["engine.plan"]


def graph(path: Path, node: onnx.NodeProto, **inputs: list[int | str]) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name, shape in inputs.items()]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)
    made = helper.make_graph([node], "one", values, [y])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 24)], ir_version=11), path)
    return path


def test_the_parser_s_refusal_is_reported_with_its_reason(tmp_path: Path) -> None:
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="attend", softcap=3.0)
    shape = {"q": ["b", 2, "s", 16], "k": ["b", 2, "t", 16], "v": ["b", 2, "t", 16]}
    with pytest.raises(BuildError, match=r"model\.onnx: not supported by TensorRT: attend: .*softcap"):
        parse(tensorrt_rtx, graph(tmp_path / "model.onnx", node, **shape))


def test_an_attention_without_its_mask_is_refused(tmp_path: Path, kept: Path) -> None:
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=1)
    shape = {"q": ["b", 4, "s", 16], "k": ["b", 2, "t", 16], "v": ["b", 2, "t", 16]}
    network = parse(tensorrt_rtx, graph(tmp_path / "model.onnx", node, **shape))
    (layer,) = network.report.attentions
    assert (layer.heads, layer.kv_heads, layer.head_dim) == (4, 2, 16)
    assert layer.causal
    assert not layer.masked
    with Plan(kept) as plan:
        assert plan.manifest.engine is not None
        with pytest.raises(
            BuildError, match=r"engine\.trt: TensorRT parsed an Attention as causal or without its mask"
        ):
            check_report(network.report, plan.manifest.engine)
        network.report.attentions.clear()
        with pytest.raises(BuildError, match=r"engine\.trt: TensorRT updates 0 caches in place, expected 4"):
            check_report(network.report, plan.manifest.engine)


def test_attention_beside_a_recurrence_builds(tmp_path: Path) -> None:
    sizes = ["hidden_size=64", "num_layers=4", "vocab_size=61", "num_experts=3"]
    options = EngineOptions(compute_capabilities=("8.9",), keep_graph=True)
    out = tmp_path / "engine.plan"
    build(
        HYBRID,
        random=1,
        out=out,
        target="tensorrt-rtx",
        quantize="int8",
        max_seq_len=64,
        engine=options,
        overrides=sizes,
    )
    with Plan(out) as plan:
        assert {state.kind for state in plan.manifest.state} == {"kv", "fixed"}
        graph = onnx.load_model_from_string(plan.read("model.onnx"))
    kinds = {node.op_type for node in graph.graph.node}
    assert "Scan" in kinds
    assert "Attention" not in kinds


def test_a_plan_without_its_engine_is_refused(kept: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.plan"
    cut.write_bytes(kept.read_bytes()[:-200])
    with pytest.raises(PlanError):
        rebuild(cut, tmp_path / "out.plan", "tensorrt-rtx", EngineOptions())
