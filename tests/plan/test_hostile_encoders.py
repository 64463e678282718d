"""Malicious and damaged encoder graphs: the checks of the decoder apply, and the two must fit each other."""

from __future__ import annotations

import json
import re

import pytest
from msgspec import ValidationError, convert
from onnx import TensorProto, helper

from archc import runtime
from archc.plan import Plan, PlanError, PlanWriter
from archc.plan.manifest import Manifest

ENCODER = "encoder.onnx"


def weight(graphs):
    """Return the encoder's first initializer in weights.bin."""
    inits = graphs[ENCODER].graph.initializer
    return next(item for item in inits if item.data_location == TensorProto.EXTERNAL)


def located(key, value):
    def change(graphs, manifest):
        entry = next(item for item in weight(graphs).external_data if item.key == key)
        entry.value = value

    return change


def unlisted(graphs, manifest):
    weight(graphs).name = "nobody"


def wrong_dims(graphs, manifest):
    weight(graphs).dims[0] += 1


def external_constant(graphs, manifest):
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    graphs[ENCODER].graph.node.append(helper.make_node("Constant", [], ["more"], value=tensor))


def ep_context(graphs, manifest):
    graphs[ENCODER].graph.node.append(helper.make_node("EPContext", [], ["more"], domain="com.microsoft"))


def renamed_input(graphs, manifest):
    manifest["encoder"]["inputs"][0]["name"] = "ids"


def another_dtype(graphs, manifest):
    for item in manifest["encoder"]["outputs"]:
        item["dtype"] = "float16"
    for item in manifest["state"]:
        item["dtype"] = "float16" if item["kind"] == "cross" else item["dtype"]


def fewer_heads(graphs, manifest):
    for item in (*manifest["encoder"]["outputs"], *manifest["state"]):
        if item["name" if "name" in item else "input"].startswith("cross"):
            item["shape"][1] = 2


def swapped(graphs, manifest):
    graphs[ENCODER], graphs["model.onnx"] = graphs["model.onnx"], graphs[ENCODER]


def unknown_operator(graphs, manifest):
    graphs[ENCODER].graph.node[0].op_type = "NoSuchOperator"


GRAPHS = {
    "absolute path": (located("location", "/etc/passwd"), r"the external data of .*: expected 'location'"),
    "path out of the folder": (located("location", "../weights.bin"), r"the external data of .*: expected 'location'"),
    "another offset": (located("offset", "64000000"), r"the external data of .*: expected 'offset'"),
    "another length": (located("length", "1"), r"the external data of .*: expected 'length'"),
    "not in the manifest": (unlisted, r"initializer 'nobody' has external data, but is not in the manifest's tensors"),
    "other dimensions": (wrong_dims, r"initializer .*: expected float32"),
    "constant": (external_constant, r"external data is not supported for a tensor that is not an initializer"),
    "EPContext": (ep_context, r"an EPContext node is not supported"),
    "renamed input": (renamed_input, r"input 'ids': expected in both graph and manifest"),
    "other types": (another_dtype, r"output .*: float16 .* in the manifest, but"),
    "fewer heads": (fewer_heads, r"output 'cross_key_values\.0\.key': float32 \['batch', 2.* in the manifest, but"),
    "swapped graphs": (swapped, r"input .*: expected in both graph and manifest"),
}


@pytest.mark.parametrize(("change", "message"), GRAPHS.values(), ids=GRAPHS)
def test_an_invalid_encoder_graph_is_refused(answering_path, tmp_path, rewrite, change, message):
    plan = rewrite(answering_path, tmp_path / "p", change)
    with pytest.raises(PlanError, match=rf"encoder\.onnx: {message}"):
        runtime.load(plan, threads=1)


def test_an_encoder_graph_that_onnx_runtime_refuses_is_a_plan_error(answering_path, tmp_path, rewrite):
    plan = rewrite(answering_path, tmp_path / "p", unknown_operator)
    with pytest.raises(PlanError, match=r"ONNX Runtime cannot load encoder\.onnx"):
        runtime.load(plan, threads=1)


def cross(manifest):
    return next(item for item in manifest["encoder"]["outputs"] if item["role"] == "cross")


def state(manifest):
    return next(item for item in manifest["state"] if item["kind"] == "cross")


def input_of(manifest, name):
    return next(item for item in manifest["inputs"] if item["name"] == name)


def encoder_mask(manifest):
    return next(item for item in manifest["encoder"]["inputs"] if item["mask"])


TOPOLOGY = "expected `encoder` for topology 'encoder-decoder', and null otherwise"
IN_BOTH = "expected in both `state` and the encoder's outputs"
NULL_OUTPUT = "expected an output, or null for kind 'cross'"
MANIFESTS = {
    "no encoder": (lambda m: m.update(encoder=None), TOPOLOGY),
    "a decoder with an encoder": (lambda m: m.update(topology="decoder"), TOPOLOGY),
    "renamed cross output": (lambda m: cross(m).update(name="cross_key_values.9.key"), IN_BOTH),
    "missing cross output": (lambda m: m["encoder"]["outputs"].pop(), IN_BOTH),
    "cross output of another type": (
        lambda m: cross(m).update(dtype="float16"),
        "cross state 'cross_key_values.0.key': float16",
    ),
    "cross output of another shape": (
        lambda m: cross(m)["shape"].__setitem__(3, 7),
        "cross state 'cross_key_values.0.key': float32",
    ),
    "cross state with an output": (lambda m: state(m).update(output="present.9"), NULL_OUTPUT),
    "KV cache without an output": (lambda m: m["state"][0].update(output=None), NULL_OUTPUT),
    "cross state as a KV cache": (lambda m: state(m).update(kind="kv"), NULL_OUTPUT),
    "cross output of the decoder": (lambda m: m["outputs"][0].update(role="cross"), "no output of role logits"),
    "repeated input": (
        lambda m: m["encoder"]["inputs"].append(dict(m["inputs"][0])),
        "encoder: graph name 'input_ids': expected once, got 2",
    ),
    "no token ids": (lambda m: m["encoder"]["inputs"].pop(0), "expected an input of the role token_ids and"),
    "unsupported input role": (
        lambda m: m["encoder"]["inputs"].append({**m["inputs"][0], "role": "write_indices", "name": "w"}),
        "expected an input of the role token_ids and",
    ),
    "causal mask of the encoder": (
        lambda m: encoder_mask(m).update(mask={"kind": "causal"}),
        "encoder: expected bidirectional masks only",
    ),
    "pooled output": (
        lambda m: m["encoder"]["outputs"].__setitem__(0, {**m["encoder"]["outputs"][0], "role": "pooled"}),
        "encoder: expected outputs of the roles hidden_states and cross",
    ),
    "no source mask": (
        lambda m: input_of(m, "source_mask").update(mask={"kind": "causal"}),
        "expected one source mask with an encoder, and none without, got 0",
    ),
    "window of a source mask": (
        lambda m: input_of(m, "source_mask")["mask"].update(window=3),
        "a window is not supported for a source mask",
    ),
    "start token outside of the vocabulary": (lambda m: m["tokens"].update(start=[60]), "ids of the vocabulary"),
    "excluded token outside of the vocabulary": (lambda m: m["tokens"].update(never=[99]), "ids of the vocabulary"),
    "unknown key": (lambda m: m["encoder"].update(more=1), "unknown field `more`"),
}


@pytest.mark.parametrize(("change", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_with_an_encoder_that_does_not_fit_is_refused(answering_path, change, message):
    with Plan(answering_path) as opened:
        manifest = json.loads(opened.read("manifest.json"))
    change(manifest)
    with pytest.raises(ValidationError, match=re.escape(message)):
        convert(manifest, Manifest)


def test_a_cross_state_has_an_axis_of_the_source(answering_path, tmp_path, rewrite):
    def change(graphs, manifest):
        cross(manifest)["shape"][2] = 5
        state(manifest)["shape"][2] = 5

    with pytest.raises(PlanError, match="expected the named axes 'batch' and 'source'"):
        runtime.load(rewrite(answering_path, tmp_path / "p", change), threads=1)


@pytest.mark.parametrize(
    ("has_encoder", "message"),
    [
        (True, "entry 'encoder.onnx' not found"),
        (False, "unexpected entry 'encoder.onnx': the manifest has no `encoder`"),
    ],
    ids=["missing graph", "unexpected graph"],
)
def test_the_encoder_graph_exists_exactly_with_its_section(
    answering_path, decoder_path, tmp_path, has_encoder, message
):
    with Plan(answering_path if has_encoder else decoder_path) as opened:
        entries = {name: opened.read(name) for name in opened.names}
    manifest = convert(json.loads(entries.pop("manifest.json")), Manifest)
    entries.pop(ENCODER, None)
    if not has_encoder:
        entries[ENCODER] = b"graph"
    with pytest.raises(PlanError, match=re.escape(message)):
        write(tmp_path / "p", entries, manifest)


def write(path, entries, manifest):
    with PlanWriter(path) as writer:
        for name, data in entries.items():
            writer.add(name, data)
        writer.finish(manifest)
