"""Graphs from strangers: references out of the plan, damaged protobuf, and a contract that disagrees."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from archc import runtime
from archc.plan import PlanError
from archc.plan.onnx_external import place_weights


def located(key, value):
    """Return a change of the first initializer's external data."""

    def change(model, manifest):
        entries = {entry.key: entry for entry in model.graph.initializer[0].external_data}
        if key in entries:
            entries[key].value = value
        else:
            model.graph.initializer[0].external_data.add(key=key, value=value)

    return change


def dims_that_lie(model, manifest):
    model.graph.initializer[0].dims[0] = 1 << 20


def renamed_tensor(model, manifest):
    manifest["tensors"][0]["name"] = "other"


def inline_and_external(model, manifest):
    model.graph.initializer[0].raw_data = b"1234"


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


def nested_for_ever(model, manifest):
    graph = helper.make_graph([], "g", [], [])
    for _ in range(28):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
    model.graph.node.extend(graph.node)


def ep_context(model, manifest):
    model.graph.node.append(
        helper.make_node("EPContext", [], ["y"], domain="com.microsoft", ep_cache_context="elsewhere")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (located("location", "../secret"), "location"),
        (located("location", "/etc/passwd"), "location"),
        (located("location", "*/_ORT_MEM_ADDR_/*"), "location"),
        (located("location", "./weights.bin"), "location"),
        (located("offset", "64"), "offset"),
        (located("offset", "-4096"), "offset"),
        (located("length", "99999999999"), "length"),
        (located("basepath", "/"), "basepath"),
        (located("checksum", "0"), "checksum"),
        (dims_that_lie, "is not the float32"),
        (renamed_tensor, "lists no such tensor"),
        (inline_and_external, "is not the float32"),
        (in_a_constant, "not an initializer of the main graph"),
        (in_a_subgraph, "not an initializer of the main graph"),
        (in_a_sparse_initializer, "not an initializer of the main graph"),
        (in_a_function, "not an initializer of the main graph"),
        (in_a_functions_default, "not an initializer of the main graph"),
        (in_training_info, "not an initializer of the main graph"),
        (nested_for_ever, "nested deeper"),
        (ep_context, "EPContext"),
    ],
)
def test_weights_that_point_elsewhere_are_refused(tiny, tmp_path, change, said):
    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(PlanError, match=said):
        runtime.load(plan, threads=1)


@pytest.mark.parametrize(
    "model", [b"\xff" * 40, b"\x3a\xff\xff\xff\x7f", b"\x0b\x0c", b"\x00\x00", b"\xba\x80\x80\x80\x80\x80\x01\x00"]
)
def test_damaged_protobuf_is_refused(model):
    with pytest.raises(PlanError, match="not a valid protobuf"):
        place_weights(model, [], "p", 0, "p")


def test_a_tag_that_parsers_read_differently_is_refused():
    tag = (1 << 32 | 7) << 3 | 2  # cut to 32 bits, as in C++, this is field 7: the graph
    raw = bytearray()
    while tag >= 0x80:
        raw.append(tag & 0x7F | 0x80)
        tag >>= 7
    with pytest.raises(PlanError, match="not a valid protobuf"):
        place_weights(bytes([*raw, tag, 0]), [], "p", 0, "p")


def state(**changes):
    def change(model, manifest):
        manifest["state"][0].update(changes)

    return change


def unlisted_input(model, manifest):
    model.graph.input.append(helper.make_tensor_value_info("extra", 1, ["batch"]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (state(shape=["batch", 3, "capacity", 8]), "in the manifest, but"),
        (state(shape=["batch", 2, "capacity", 1 << 39]), "in the manifest, but"),
        (state(shape=["batch", 2, 8, "capacity"]), "in the manifest, but"),
        (state(dtype="float16"), "float16"),
        (state(input="past_key_values.1.key"), "only one of graph and manifest"),
        (state(kind="rwkv"), "is of kind 'rwkv'"),
        (state(shape=["batch", 2, "length", 8]), "one 'capacity'"),
        (unlisted_input, "'extra' is in only one"),
        (lambda model, manifest: manifest["outputs"][0].update(dtype="float16"), "float16"),
        (lambda model, manifest: manifest["inputs"][0].update(dtype="int32"), "int32"),
    ],
)
def test_a_contract_that_disagrees_with_the_graph_is_refused(tiny, tmp_path, change, said):
    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(PlanError, match=said):
        runtime.load(plan, threads=1)


def test_a_graph_that_onnx_runtime_refuses_is_a_plan_error(tiny, tmp_path):
    plan = tiny.write(
        tmp_path / "p", change=lambda model, manifest: model.graph.node[0].input.__setitem__(0, "nothing")
    )
    with pytest.raises(PlanError, match="ONNX Runtime refuses"):
        runtime.load(plan, threads=1)


def test_a_graph_that_fails_while_it_runs_is_an_engine_error(tiny, tmp_path):
    def change(model, manifest):
        tensor = next(t for t in model.graph.initializer if t.name == "heads")
        tensor.CopyFrom(helper.make_tensor("heads", TensorProto.INT64, [4], [0, 0, 2, 7]))

    plan = tiny.write(tmp_path / "p", change=change)
    with pytest.raises(runtime.EngineError):
        runtime.load(plan, threads=1).logits([1, 2])
