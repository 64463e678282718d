"""Plans with an engine for the fake TensorRT, made of the tiny models that ONNX Runtime runs as well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec import convert
from onnx import TensorProto, helper, numpy_helper

from archc.plan import Manifest, PlanWriter
from tests.runtime.fakes.trt import pack

Change = Callable[[dict[str, Any], dict[str, Any]], object]
_KINDS = {"float32": "FLOAT", "int64": "INT64", "bool": "BOOL"}


def greedy(model: onnx.ModelProto, manifest: dict[str, Any]) -> None:
    """Let the graph find the likeliest token as well."""
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", ["logits"], ["best"], axis=-1, keepdims=1),
            helper.make_node("GatherElements", ["logits", "best"], ["best_logit"], axis=-1),
            helper.make_node("Squeeze", ["best", "last_axis"], ["next_token"]),
            helper.make_node("Squeeze", ["best_logit", "last_axis"], ["next_logit"]),
        ]
    )
    model.graph.initializer.append(helper.make_tensor("last_axis", TensorProto.INT64, [1], [-1]))
    for name, kind in (("next_token", "int64"), ("next_logit", "float32")):
        onnx_kind = TensorProto.INT64 if kind == "int64" else TensorProto.FLOAT
        shape = manifest["outputs"][0]["shape"][:2]
        model.graph.output.append(helper.make_tensor_value_info(name, onnx_kind, shape))
        manifest["outputs"].append({"name": name, "role": name, "dtype": kind, "shape": shape})


def summing(folder: Path) -> Path:
    """Write the folder of a graph whose only state is of fixed size: the sum of a row's tokens so far."""
    random = np.random.default_rng(2)
    weights = {"embed": random.standard_normal((50, 8)), "head": random.standard_normal((8, 50))}
    data = b"".join(value.astype(np.float32).tobytes() for value in weights.values())
    inits, offset = [], 0
    for name, value in weights.items():
        tensor = TensorProto(name=name, data_type=1, dims=value.shape, data_location=TensorProto.EXTERNAL)
        for key, place in (("location", "weights.bin"), ("offset", offset), ("length", value.size * 4)):
            tensor.external_data.add(key=key, value=str(place))
        inits.append(tensor)
        offset += value.size * 4
    for name, number in (("zero", 0), ("one", 1)):
        inits.append(helper.make_tensor(name, TensorProto.INT64, [], [number]))
        inits.append(helper.make_tensor(f"{name}s", TensorProto.INT64, [1], [number]))
    inits.append(helper.make_tensor("last", TensorProto.INT64, [1], [-1]))
    steps = [
        ("Gather", ["embed", "input_ids"], "e", {}),
        ("Shape", ["input_ids"], "seq1", {"start": 1}),
        ("Squeeze", ["seq1", "zeros"], "seq", {}),
        ("Range", ["zero", "seq", "one"], "steps", {}),
        ("Unsqueeze", ["lengths", "ones"], "ends", {}),
        ("Less", ["steps", "ends"], "real", {}),
        ("Cast", ["real"], "real1", {"to": 1}),
        ("Unsqueeze", ["real1", "last"], "real2", {}),
        ("Mul", ["e", "real2"], "x", {}),
        ("CumSum", ["x", "one"], "sums", {}),
        ("Unsqueeze", ["past", "ones"], "before", {}),
        ("Add", ["sums", "before"], "h", {}),
        ("ReduceSum", ["x", "ones"], "added", {"keepdims": 0}),
        ("Add", ["added", "past"], "present", {}),
        ("Tanh", ["h"], "t", {}),
        ("Unsqueeze", ["logit_positions", "last"], "rows", {}),
        ("GatherND", ["t", "rows"], "chosen", {"batch_dims": 1}),
        ("MatMul", ["chosen", "head"], "logits", {}),
    ]
    ins = [
        {"name": "input_ids", "role": "token_ids", "dtype": "int64", "shape": ["batch", "seq"]},
        {"name": "lengths", "role": "lengths", "dtype": "int64", "shape": ["batch"]},
        {"name": "logit_positions", "role": "logit_positions", "dtype": "int64", "shape": ["batch", "asked"]},
    ]
    outs = [{"name": "logits", "role": "logits", "dtype": "float32", "shape": ["batch", "asked", 50]}]
    state = [{"kind": "fixed", "input": "past", "output": "present", "dtype": "float32", "shape": ["batch", 8]}]

    def info(name: str, kind: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        [helper.make_node(op, given, [out], **attributes) for op, given, out, attributes in steps],
        "summing",
        [*(info(i["name"], TensorProto.INT64, i["shape"]) for i in ins), info("past", 1, ["batch", 8])],
        [info("logits", 1, ["batch", "asked", 50]), info("present", 1, ["batch", 8])],
        inits,
    )
    tensors = [
        {"name": "embed", "shape": [50, 8], "dtype": "float32", "offset": 0, "bytes": 1600},
        {"name": "head", "shape": [8, 50], "dtype": "float32", "offset": 1600, "bytes": 1600},
    ]
    manifest = {
        "format": 1,
        "archc": "0.1.0",
        "family": "summing",
        "topology": "decoder",
        "spec": "",
        "config": {},
        "target": "onnx",
        "dtype": "float32",
        "inputs": ins,
        "outputs": outs,
        "state": state,
        "tensors": tensors,
        "limits": {"max_seq_len": 64, "max_call": None, "vocab_size": 50},
        "tokens": {"eos": []},
        "encoder": None,
        "parameters": 800,
        "flops_per_token": 1,
    }
    folder.mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder / "weights.bin").write_bytes(data)
    (folder / "archc.json").write_text(json.dumps(manifest))
    return folder


def inlined(model: onnx.ModelProto, data: bytes) -> bytes:
    """Return the model with its weights inside, for they have no file here."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}
            start, length = int(place["offset"]), int(place["length"])
            values = np.frombuffer(data[start : start + length], np.float32).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model.SerializeToString()


def section(
    described: dict[str, Any], states: Iterable[dict[str, Any]], limit: int, batch: int, longest: int, file: str
) -> dict[str, Any]:
    """Return the manifest's `engine` for a graph."""
    states = list(states)
    decodes = bool(states)
    shapes = [item["shape"] for item in (*described["inputs"], *described["outputs"], *states)]
    axes = {axis for shape in shapes for axis in shape if isinstance(axis, str)} - {"capacity"}
    most = {"batch": batch, "seq": longest, "n": longest, "asked": longest, "total": limit, "source": limit}

    def profile(name: str, **fixed: int) -> dict[str, Any]:
        ranges = {axis: [1, min(2, most[axis]), most[axis]] for axis in axes}
        return {"name": name, "axes": ranges | {axis: [size] * 3 for axis, size in fixed.items()}}

    ones = {axis: 1 for axis in ("seq", "n", "asked") if axis in axes}
    return {
        "file": file,
        "builder": "tensorrt",
        "version": "11.4.0.12",
        "compute_capabilities": ["9.0"],
        "profiles": [profile("prefill"), profile("decode", **ones)] if decodes else [profile("encode")],
        "capacity": limit if any("capacity" in state["shape"] for state in states) else None,
        "aliased": [[state["input"], state["output"]] for state in states if state["kind"] == "kv"],
        "weight_streaming": False,
    }


def description(described: dict[str, Any], states: Iterable[dict[str, Any]], engine: dict[str, Any]) -> dict[str, Any]:
    """Return what the serialized engine says of itself."""
    states = list(states)
    inputs = {i["name"]: i for i in described["inputs"]} | {s["input"]: s for s in states}
    outputs = {o["name"]: o for o in described["outputs"]} | {s["output"]: s for s in states if s["output"]}

    def dims(item: dict[str, Any]) -> list[int]:
        return [engine["capacity"] if d == "capacity" else -1 if isinstance(d, str) else d for d in item["shape"]]

    def at(item: dict[str, Any], profile: dict[str, Any], index: int) -> list[int]:
        sizes = {"capacity": [engine["capacity"]] * 3} | profile["axes"]
        return [sizes[axis][index] if isinstance(axis, str) else axis for axis in item["shape"]]

    return {
        "tensors": {
            name: {"mode": mode, "dtype": _KINDS[item["dtype"]], "shape": dims(item)}
            for mode, items in (("INPUT", inputs), ("OUTPUT", outputs))
            for name, item in items.items()
        },
        "profiles": [
            {name: [at(item, profile, index) for index in range(3)] for name, item in inputs.items()}
            for profile in engine["profiles"]
        ],
        "aliased": {output: past for past, output in engine["aliased"]},
    }


def engine_plan_of(folder: Path, path: Path, batch: int = 3) -> Path:
    """Write the plan of a portable graph's folder (target `onnx`), with engines in place of its graphs."""
    manifest = json.loads((folder / "archc.json").read_text())
    data = (folder / "weights.bin").read_bytes()
    entries = {}
    parts = [("model.onnx", "engine.trt", manifest, manifest["state"])]
    if manifest["encoder"] is not None:
        parts.append(("encoder.onnx", "encoder.trt", manifest["encoder"], []))
    for graph, file, part, states in parts:
        model = onnx.load_model(folder / graph, load_external_data=False)
        if part is manifest:
            greedy(model, manifest)
        limit = part["limits"]["max_seq_len"]
        part["engine"] = section(part, states, limit, batch, part["limits"]["max_call"] or limit, file)
        entries[file] = pack(description(part, states, part["engine"]), inlined(model, data))
    manifest |= {"target": "tensorrt", "tensors": [], "entries": {}}
    with PlanWriter(path) as writer:
        for name, content in entries.items():
            writer.add(name, content)
        return writer.finish(convert(manifest, Manifest))


def plain_plan_of(folder: Path, path: Path, target: str) -> Path:
    """Write the plan of a portable graph's folder, for ONNX Runtime to run as it is."""
    manifest = json.loads((folder / "archc.json").read_text())
    with PlanWriter(path) as writer:
        for name in ("model.onnx", "encoder.onnx", "weights.bin"):
            if (folder / name).exists():
                writer.add(name, (folder / name).read_bytes())
        return writer.finish(convert(manifest | {"target": target, "entries": {}}, Manifest))


def write_engine_plan(
    path: Path,
    model: onnx.ModelProto,
    manifest: dict[str, Any],
    data: bytes,
    *,
    batch: int = 3,
    change: Change | None = None,
    keep_graph: bool = False,
    files: dict[str, bytes] | None = None,
) -> Path:
    """Write a plan for target tensorrt, after `change` has had its way with manifest and engine."""
    limit = manifest["limits"]["max_seq_len"]
    longest = manifest["limits"].get("max_call") or limit
    states = manifest["state"]
    engine = section(manifest, states, limit, batch, longest, "engine.trt")
    described = description(manifest, states, engine)
    manifest = {**manifest, "target": "tensorrt", "engine": engine}
    if not keep_graph:
        manifest["tensors"] = []
    if change is not None:
        change(manifest, described)
    with PlanWriter(path) as writer:
        writer.add("engine.trt", pack(described, inlined(model, data)))
        if keep_graph:
            writer.add("model.onnx", model.SerializeToString())
            writer.add("weights.bin", data)
        for name, content in (files or {}).items():
            writer.add(name, content)
        return writer.finish(convert(manifest, Manifest))
