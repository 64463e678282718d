"""A plan's second graph from strangers: every check of the first holds for it, and the two must fit each other."""

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
    """The encoder's first initializer that lies in weights.bin."""
    inits = graphs[ENCODER].graph.initializer
    return next(item for item in inits if item.data_location == TensorProto.EXTERNAL)


def located(key, value):
    def change(graphs, manifest):
        entry = next(item for item in weight(graphs).external_data if item.key == key)
        entry.value = value

    return change


def unlisted(graphs, manifest):
    weight(graphs).name = "nobody"


def dims_that_lie(graphs, manifest):
    weight(graphs).dims[0] += 1


def external_constant(graphs, manifest):
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    graphs[ENCODER].graph.node.append(helper.make_node("Constant", [], ["more"], value=tensor))


def other_files(graphs, manifest):
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


def not_onnx_runtimes(graphs, manifest):
    graphs[ENCODER].graph.node[0].op_type = "NoSuchOperator"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (located("location", "/etc/passwd"), r"encoder\.onnx: the external data of .* has 'location'"),
        (located("location", "../weights.bin"), r"encoder\.onnx: the external data of .* has 'location'"),
        (located("offset", "64000000"), r"encoder\.onnx: the external data of .* has 'offset'"),
        (located("length", "1"), r"encoder\.onnx: the external data of .* has 'length'"),
        (unlisted, r"encoder\.onnx: initializer 'nobody' has external data, but the manifest lists no such tensor"),
        (dims_that_lie, r"encoder\.onnx: initializer .* is not the float32"),
        (external_constant, r"encoder\.onnx: a tensor that is not an initializer of the main graph"),
        (other_files, r"encoder\.onnx: it has an EPContext node"),
        (renamed_input, r"encoder\.onnx: the input 'ids' is in only one of graph and manifest"),
        (another_dtype, r"encoder\.onnx: output .* is float16"),
        (fewer_heads, r"encoder\.onnx: output 'cross_key_values\.0\.key' is float32 \['batch', 2"),
        (swapped, r"encoder\.onnx: the input .* is in only one of graph and manifest"),
        (not_onnx_runtimes, r"ONNX Runtime refuses encoder\.onnx"),
    ],
)
def test_a_second_graph_that_cannot_be_trusted_is_refused(answering_path, tmp_path, rewrite, change, said):
    plan = rewrite(answering_path, tmp_path / "p", change)
    with pytest.raises(PlanError, match=said):
        runtime.load(plan, threads=1)


def cross(manifest):
    return next(item for item in manifest["encoder"]["outputs"] if item["role"] == "cross")


def state(manifest):
    return next(item for item in manifest["state"] if item["kind"] == "cross")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(encoder=None), "a plan of topology encoder-decoder, and no other, has an `encoder`"),
        (lambda m: m.update(topology="decoder"), "a plan of topology encoder-decoder, and no other, has an `encoder`"),
        (lambda m: cross(m).update(name="cross_key_values.9.key"), "is in only one of state and the encoder's outputs"),
        (lambda m: m["encoder"]["outputs"].pop(), "is in only one of state and the encoder's outputs"),
        (lambda m: cross(m).update(dtype="float16"), "the encoder gives 'cross_key_values.0.key' as float16"),
        (lambda m: cross(m)["shape"].__setitem__(3, 7), "the encoder gives 'cross_key_values.0.key' as float32"),
        (lambda m: state(m).update(output="present.9"), "a cross state, and no other, has no output"),
        (lambda m: m["state"][0].update(output=None), "a cross state, and no other, has no output"),
        (lambda m: state(m).update(kind="kv"), "a cross state, and no other, has no output"),
        (lambda m: m["outputs"][0].update(role="cross"), "logits"),
        (lambda m: m["encoder"]["inputs"].append(dict(m["inputs"][0])), "appears more than once"),
        (lambda m: m["encoder"]["inputs"].pop(0), "it reads token_ids and what they need"),
        (
            lambda m: m["encoder"]["inputs"].append({**m["inputs"][0], "role": "write_indices", "name": "w"}),
            "it reads token_ids and what they need",
        ),
        (
            lambda m: next(i for i in m["encoder"]["inputs"] if i["mask"]).update(mask={"kind": "causal"}),
            "the encoder's masks are bidirectional",
        ),
        (
            lambda m: m["encoder"]["outputs"].__setitem__(0, {**m["encoder"]["outputs"][0], "role": "pooled"}),
            "the encoder's outputs are hidden_states and cross",
        ),
        (
            lambda m: next(i for i in m["inputs"] if i["name"] == "source_mask").update(mask={"kind": "causal"}),
            "has a source mask, and one only",
        ),
        (
            lambda m: next(i for i in m["inputs"] if i["name"] == "source_mask")["mask"].update(window=3),
            "a source mask has no window",
        ),
        (lambda m: m["tokens"].update(start=[60]), "tokens.start and tokens.never are ids of the vocabulary"),
        (lambda m: m["tokens"].update(never=[99]), "tokens.start and tokens.never are ids of the vocabulary"),
        (lambda m: m["encoder"].update(more=1), "unknown field `more`"),
    ],
)
def test_a_manifest_whose_two_graphs_do_not_fit_is_refused(answering_path, change, said):
    with Plan(answering_path) as opened:
        manifest = json.loads(opened.read("manifest.json"))
    change(manifest)
    with pytest.raises(ValidationError, match=re.escape(said)):
        convert(manifest, Manifest)


def test_a_cross_state_has_an_axis_of_the_source(answering_path, tmp_path, rewrite):
    def change(graphs, manifest):
        cross(manifest)["shape"][2] = 5
        state(manifest)["shape"][2] = 5

    with pytest.raises(PlanError, match="a cross state has one 'batch' and one 'source'"):
        runtime.load(rewrite(answering_path, tmp_path / "p", change), threads=1)


def test_the_second_graph_must_be_there_and_only_where_it_is_described(answering_path, decoder_path, tmp_path):
    for plan, entry, said in (
        (answering_path, None, "it has no entry 'encoder.onnx'"),
        (decoder_path, b"graph", "it has an entry 'encoder.onnx', but its manifest has no encoder"),
    ):
        with Plan(plan) as opened:
            entries = {name: opened.read(name) for name in opened.names}
        manifest = convert(json.loads(entries.pop("manifest.json")), Manifest)
        entries.pop(ENCODER, None)
        if entry is not None:
            entries[ENCODER] = entry
        with pytest.raises(PlanError, match=said):
            write(tmp_path / "p", entries, manifest)


def write(path, entries, manifest):
    with PlanWriter(path) as writer:
        for name, data in entries.items():
            writer.add(name, data)
        writer.finish(manifest)
