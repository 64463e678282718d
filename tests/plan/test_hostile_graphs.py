"""Malicious and damaged graphs: external data outside of the plan, invalid protobuf, and a mismatched manifest."""

from __future__ import annotations

import os

import pytest
from onnx import TensorProto, helper

from archc import runtime
from archc.plan import Plan, PlanError, Tensor
from archc.plan.onnx_external import relocate_weights


def located(key, value):
    """Return a change of the first initializer's external data."""

    def change(model, manifest):
        entries = {entry.key: entry for entry in model.graph.initializer[0].external_data}
        if key in entries:
            entries[key].value = value
        else:
            model.graph.initializer[0].external_data.add(key=key, value=value)

    return change


def wrong_dims(model, manifest):
    model.graph.initializer[0].dims[0] = 1 << 20


def renamed_tensor(model, manifest):
    manifest["tensors"][0]["name"] = "other"


def inline_and_external(model, manifest):
    model.graph.initializer[0].raw_data = b"1234"


def internal_with_records(model, manifest):
    model.graph.initializer[0].data_location = TensorProto.DEFAULT


def repeated_key(model, manifest):
    model.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def external_tensor(name="x"):
    tensor = TensorProto(name=name, data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def in_a_constant(model, manifest):
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external_tensor()))


def in_a_subgraph(model, manifest):
    body = helper.make_graph([], "body", [], [], [external_tensor()])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body))


def in_a_sparse_initializer(model, manifest):
    model.graph.sparse_initializer.add().values.CopyFrom(external_tensor())


def in_a_function(model, manifest):
    node = helper.make_node("Constant", [], ["c"], value=external_tensor())
    model.functions.append(helper.make_function("d", "f", [], ["c"], [node], []))


def in_a_functions_default(model, manifest):
    function = helper.make_function("d", "f", [], [], [], [])
    function.attribute_proto.append(helper.make_attribute("t", external_tensor()))
    model.functions.append(function)


def in_training_info(model, manifest):
    model.training_info.add().initialization.initializer.append(external_tensor())


def deeply_nested(model, manifest):
    graph = helper.make_graph([], "g", [], [])
    for _ in range(28):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    model.graph.node.extend(graph.node)


def ep_context(model, manifest):
    model.graph.node.append(
        helper.make_node("EPContext", [], ["y"], domain="com.microsoft", ep_cache_context="elsewhere")
    )


NOT_IN_THE_MAIN_GRAPH = "not supported for a tensor that is not an initializer of the main graph"
REFERENCES = {
    "relative path out of the folder": (located("location", "../secret"), "expected 'location' = 'weights.bin'"),
    "absolute path": (located("location", "/etc/passwd"), "expected 'location' = 'weights.bin'"),
    "address in memory": (located("location", "*/_ORT_MEM_ADDR_/*"), "expected 'location' = 'weights.bin'"),
    "another spelling": (located("location", "./weights.bin"), "expected 'location' = 'weights.bin'"),
    "another offset": (located("offset", "64"), "expected 'offset' = '0', got '64'"),
    "negative offset": (located("offset", "-4096"), "expected 'offset' = '0', got '-4096'"),
    "another length": (located("length", "99999999999"), "expected 'length'"),
    "unknown key basepath": (located("basepath", "/"), "expected 'basepath' = None"),
    "unknown key checksum": (located("checksum", "0"), "expected 'checksum' = None"),
    "other dimensions": (wrong_dims, "expected float32"),
    "not in the manifest": (renamed_tensor, "is not in the manifest's tensors"),
    "inline and external": (inline_and_external, "and no inline data"),
    "internal with records": (internal_with_records, "but its data location is internal"),
    "repeated key": (repeated_key, "is malformed"),
    "constant": (in_a_constant, NOT_IN_THE_MAIN_GRAPH),
    "subgraph": (in_a_subgraph, NOT_IN_THE_MAIN_GRAPH),
    "sparse initializer": (in_a_sparse_initializer, NOT_IN_THE_MAIN_GRAPH),
    "function": (in_a_function, NOT_IN_THE_MAIN_GRAPH),
    "default of a function": (in_a_functions_default, NOT_IN_THE_MAIN_GRAPH),
    "training info": (in_training_info, NOT_IN_THE_MAIN_GRAPH),
    "deep nesting": (deeply_nested, "nested deeper than 64 levels"),
    "EPContext": (ep_context, "EPContext node is not supported"),
}


@pytest.mark.parametrize(("change", "message"), REFERENCES.values(), ids=REFERENCES)
def test_external_data_outside_of_the_weights_is_refused(tiny, tmp_path, change, message):
    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(PlanError, match=message):
        runtime.load(plan, threads=1)


MESSAGES = {
    "end groups": b"\xff" * 40,
    "length past the end": b"\x3a\xff\xff\xff\x7f",
    "start and end group": b"\x0b\x0c",
    "field number 0": b"\x00\x00",
    "field number over 29 bits": b"\xba\x80\x80\x80\x80\x80\x01\x00",
}


@pytest.mark.parametrize("model", MESSAGES.values(), ids=MESSAGES)
def test_invalid_protobuf_is_refused(model):
    with pytest.raises(PlanError, match="invalid protobuf message"):
        relocate_weights(model, [], "p", 0, "p")


def test_an_unknown_data_location_is_refused():
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL).SerializeToString()
    other = tensor.replace(b"\x70\x01", b"\x70\x02")  # field 14, which the onnx package cannot set to this value
    assert other != tensor
    graph = b"\x2a" + bytes([len(other)]) + other
    with pytest.raises(PlanError, match="data location 2 of an initializer is not supported"):
        relocate_weights(b"\x3a" + bytes([len(graph)]) + graph, [], "p", 0, "p")


RECORDS = {
    "key is a number": (b"\x08\x01", "a string field is a number"),
    "key is not UTF-8": (b"\x0a\x01\xff", "a string field is not UTF-8"),
}


@pytest.mark.parametrize(("record", "message"), RECORDS.values(), ids=RECORDS)
def test_a_malformed_record_is_refused(record, message):
    tensor = TensorProto(name="x", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL).SerializeToString()
    tensor += b"\x6a" + bytes([len(record)]) + record  # field 13: external_data
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    listed = Tensor(name="x", shape=(1,), dtype="float32", offset=0, bytes=4)
    with pytest.raises(PlanError, match=message):
        relocate_weights(b"\x3a" + bytes([len(graph)]) + graph, [listed], "p", 0, "p")


def test_a_tag_that_parsers_read_differently_is_refused():
    tag = (1 << 32 | 7) << 3 | 2  # truncated to 32 bits, as in C++, this is field 7: the graph
    raw = bytearray()
    while tag >= 0x80:
        raw.append(tag & 0x7F | 0x80)
        tag >>= 7
    with pytest.raises(PlanError, match="invalid protobuf message"):
        relocate_weights(bytes([*raw, tag, 0]), [], "p", 0, "p")


def test_a_file_name_that_is_not_unicode_is_refused(plan, tmp_path):
    renamed = plan.rename(tmp_path / os.fsdecode(b"\xff.plan"))
    with Plan(renamed) as opened, pytest.raises(PlanError, match="not valid Unicode; rename the file"):
        opened.model()


def state(**changes):
    def change(model, manifest):
        manifest["state"][0].update(changes)

    return change


def unlisted_input(model, manifest):
    model.graph.input.append(helper.make_tensor_value_info("extra", 1, ["batch"]))


CONTRACTS = {
    "other heads": (state(shape=["batch", 3, "capacity", 8]), "in the manifest, but"),
    "absurd size": (state(shape=["batch", 2, "capacity", 1 << 39]), "in the manifest, but"),
    "capacity on another axis": (state(shape=["batch", 2, 8, "capacity"]), "in the manifest, but"),
    "other type of a state": (state(dtype="float16"), "float16 .* in the manifest, but"),
    "other name of a state": (state(input="past_key_values.1.key"), "expected in both graph and manifest"),
    "unknown kind": (state(kind="rwkv"), "kind 'rwkv' is not supported"),
    "unknown axis": (state(shape=["batch", 2, "length", 8]), "expected the named axes 'batch' and 'capacity'"),
    "batch not first": (state(shape=[2, "batch", "capacity", 8]), "'batch' first"),
    "unlisted input": (unlisted_input, "input 'extra': expected in both graph and manifest"),
    "other type of an output": (
        lambda model, manifest: manifest["outputs"][0].update(dtype="float16"),
        "output 'logits': float16 .* in the manifest, but tensor",
    ),
    "other type of an input": (
        lambda model, manifest: manifest["inputs"][0].update(dtype="int32"),
        "input 'input_ids': int32 .* in the manifest, but tensor",
    ),
}


@pytest.mark.parametrize(("change", "message"), CONTRACTS.values(), ids=CONTRACTS)
def test_a_manifest_that_differs_from_the_graph_is_refused(tiny, tmp_path, change, message):
    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(PlanError, match=message):
        runtime.load(plan, threads=1)


def test_a_graph_that_onnx_runtime_refuses_is_a_plan_error(tiny, tmp_path):
    plan = tiny.write(
        tmp_path / "p", change=lambda model, manifest: model.graph.node[0].input.__setitem__(0, "nothing")
    )
    with pytest.raises(PlanError, match=r"ONNX Runtime cannot load model\.onnx"):
        runtime.load(plan, threads=1)


def test_a_graph_that_fails_while_it_runs_is_an_engine_error(tiny, tmp_path):
    def change(model, manifest):
        tensor = next(t for t in model.graph.initializer if t.name == "heads")
        tensor.CopyFrom(helper.make_tensor("heads", TensorProto.INT64, [4], [0, 0, 2, 7]))

    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(runtime.EngineError):
        runtime.load(plan, threads=1).logits([1, 2])
