"""Plans from strangers: each line of what has bitten others gets a PlanError that says what is wrong."""

from __future__ import annotations

import json
import struct
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import runtime
from runtime.plan import Plan, PlanError
from runtime.plan.archive import CENTRAL, PAGE
from runtime.plan.onnx_external import place_weights


@pytest.fixture
def plan(tiny, tmp_path):
    return tiny.write(tmp_path / "engine.plan", with_tokenizer=False)


def patched(plan, edit):
    """Let `edit` change the plan's bytes, and return the path."""
    data = bytearray(plan.read_bytes())
    edit(data)
    plan.write_bytes(data)
    return plan


def rename(old, new):
    """Return an edit that renames an entry in both of its headers."""
    assert len(old) == len(new)

    def edit(data):
        assert data.count(old) >= 2
        data[:] = data.replace(old, new)

    return edit


def central(data, name):
    """Return where the directory's record of an entry starts."""
    return data.rindex(name) - CENTRAL.size


def rezipped(plan, out, compression=zipfile.ZIP_STORED, **changed):
    """Write the plan's entries again with an ordinary zip tool."""
    with zipfile.ZipFile(plan) as old, zipfile.ZipFile(out, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name, old.read(name)))
    return out


def with_manifest(plan, change):
    """Change the manifest in place, keeping its length, so that every other byte of the file stays true."""
    with Plan(plan) as opened:
        at, size = opened.offset("manifest.json"), opened.size("manifest.json")
    raw = bytearray(plan.read_bytes())
    manifest = json.loads(raw[at : at + size])
    change(manifest)
    text = json.dumps(manifest, separators=(",", ":")).encode()
    assert len(text) <= size
    raw[at : at + size] = text.ljust(size)
    plan.write_bytes(raw)
    return plan


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"not a plan at all" * 20, b"PK\x05\x06" + bytes(18), b"\x80\x04" * 100]
)
def test_a_wrong_magic_is_refused(tmp_path, content):
    path = tmp_path / "x.plan"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=r"not an engine\.plan"):
        Plan(path)


@pytest.mark.parametrize("left", [0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused(plan, left):
    data = plan.read_bytes()
    plan.write_bytes(data[: int(len(data) * left)])
    with pytest.raises(PlanError):
        Plan(plan)


def test_bytes_after_the_end_are_refused(plan):
    with pytest.raises(PlanError, match="truncated or damaged"):
        Plan(patched(plan, lambda data: data.extend(b"more")))


@pytest.mark.parametrize(
    "name",
    [
        b"/eights.bin",
        b"../ghts.bin",
        b"a/../../bin",
        b"..\\ghts.bin",
        b"C:ights.bin",
        b"a//ghts.bin",
        b"wei\0hts.bin",
        b"wei\xffhts.bin",
    ],
)
def test_an_entry_that_is_absolute_or_climbs_is_refused(plan, name):
    with pytest.raises(PlanError, match=r"do not trust|not UTF-8"):
        Plan(patched(plan, rename(b"weights.bin", name)))


def test_duplicate_entries_are_refused(tiny, tmp_path):
    plan = tiny.write(tmp_path / "p", extra={"model.onny": b"twin"})
    with pytest.raises(PlanError, match="appears twice"):
        Plan(patched(plan, rename(b"model.onny", b"model.onnx")))


def test_entries_that_differ_only_in_case_are_refused(tiny, tmp_path):
    with pytest.raises(PlanError, match="upper and lower case"):
        Plan(tiny.write(tmp_path / "p", extra={"MODEL.onnx": b"twin"}))


def test_overlapping_entries_are_refused(plan):
    """One entry's records say that it reaches into the next."""

    def edit(data):
        with zipfile.ZipFile(plan) as archive:
            info = archive.getinfo("model.onnx")
        longer = struct.pack("<QQ", info.file_size + 2 * PAGE, info.file_size + 2 * PAGE)
        data[:] = data.replace(struct.pack("<QQ", info.file_size, info.file_size), longer)

    with pytest.raises(PlanError, match="' overlap; build"):
        Plan(patched(plan, edit))


def test_compressed_entries_are_refused(plan, tmp_path):
    with pytest.raises(PlanError, match="is compressed; a plan"):
        Plan(rezipped(plan, tmp_path / "bomb.plan", zipfile.ZIP_DEFLATED))


def test_a_repacked_plan_is_refused_since_its_weights_are_not_aligned(plan, tmp_path):
    with pytest.raises(PlanError, match="not aligned"):
        Plan(rezipped(plan, tmp_path / "again.plan"))


def test_a_size_that_lies_is_refused(plan):
    def edit(data):
        at = central(data, b"weights.bin") + CENTRAL.size + len(b"weights.bin") + 4
        struct.pack_into("<QQ", data, at, 1 << 40, 1 << 40)

    with pytest.raises(PlanError, match="disagree"):
        Plan(patched(plan, edit))


def test_a_size_that_lies_in_both_places_is_refused(plan):
    def edit(data):
        with zipfile.ZipFile(plan) as archive:
            size = archive.getinfo("manifest.json").file_size
        data[:] = data.replace(struct.pack("<QQ", size, size), struct.pack("<QQ", 1 << 60, 1 << 60))

    with pytest.raises(PlanError, match="past the end"):
        Plan(patched(plan, edit))


def test_an_entry_count_that_lies_is_refused(plan):
    def edit(data):
        at = data.rindex(b"PK\x06\x06")
        struct.pack_into("<QQ", data, at + 24, 1 << 50, 1 << 50)

    with pytest.raises(PlanError, match="directory"):
        Plan(patched(plan, edit))


def test_an_encrypted_entry_is_refused(plan):
    def edit(data):
        struct.pack_into("<H", data, central(data, b"weights.bin") + 8, 0x801)

    with pytest.raises(PlanError, match="is encrypted or"):
        Plan(patched(plan, edit))


def test_a_newer_format_says_which_archc_is_needed(plan):
    def change(manifest):
        manifest.update(format=2, archc="9.1.0", spec="", new_thing={})

    with pytest.raises(PlanError, match=r"install archc 9\.1\.0 or newer"):
        Plan(with_manifest(plan, change))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(spec="", extra=1), "extra"),
        (lambda m: m.update(format="1"), "format"),
        (lambda m: m.update(format=True), "format"),
        (lambda m: m.pop("limits"), "limits"),
        (lambda m: m["limits"].update(vocab_size=-1), "vocab_size"),
        (lambda m: m["limits"].update(vocab_size=263), "vocab_size is 263"),
        (lambda m: m["inputs"].pop(0), "token_ids"),
        (lambda m: m["inputs"][0].update(name="attn_mask"), "more than once"),
        (lambda m: m["inputs"][2].update(mask=None), "mask description"),
        (lambda m: m["state"][0].update(shape=["batch", 0, "capacity", 8]), "state"),
        (lambda m: m.update(inputs=[i for i in m["inputs"] if i["role"] != "mask"]), "no input of role mask"),
        (lambda m: [s.update(kind="fixed", shape=["batch", 8]) for s in m["state"]], "no input of role lengths"),
        (lambda m: m["tensors"][0].update(bytes=4), "takes 16896 bytes"),
        (lambda m: m["tensors"][0].update(offset=1 << 30), "ends at byte"),
        (lambda m: m["tensors"][0].update(offset=-64), "offset"),
        (lambda m: m["entries"].pop("weights.bin"), "only one of the file"),
        (lambda m: m["entries"]["weights.bin"].update(bytes=7), "the manifest says 7"),
        (lambda m: m["entries"]["weights.bin"].update(sha256="x"), "sha256"),
        (lambda m: m.clear(), "manifest"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(plan, change, said):
    with pytest.raises(PlanError, match=said):
        Plan(with_manifest(plan, change))


@pytest.mark.parametrize("text", [b"[]", b"1", b"nonsense", b"\xff\xfe", b"[" * 3000, b'{"a":' * 3000])
def test_a_manifest_that_is_not_an_object_is_refused(plan, text):
    with Plan(plan) as opened:
        at, size = opened.offset("manifest.json"), opened.size("manifest.json")

    def edit(data):
        data[at : at + size] = text[:size].ljust(size)

    with pytest.raises(PlanError, match=r"manifest\.json"):
        Plan(patched(plan, edit))


def test_a_missing_model_is_refused(plan):
    with pytest.raises(PlanError, match=r"model\.onnx"):
        Plan(patched(plan, rename(b"model.onnx", b"mudel.onnx")))


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


def test_a_damaged_entry_is_found_by_its_hash_and_nothing_is_unpacked(plan, tmp_path):
    with Plan(plan) as opened:
        at = opened.offset("weights.bin")
    patched(plan, lambda data: data.__setitem__(at, data[at] ^ 1))
    with Plan(plan) as opened:
        with pytest.raises(PlanError, match=r"weights\.bin is damaged"):
            opened.verify_hashes()
        with pytest.raises(PlanError, match=r"weights\.bin is damaged"):
            opened.unpack(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpack_does_not_follow_links_out_of_its_folder(tiny, tmp_path):
    plan = tiny.write(tmp_path / "p")
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "tokenizer").symlink_to(outside)
    with Plan(plan) as opened, pytest.raises(PlanError, match="link that leaves"):
        opened.unpack(out)
    assert list(outside.iterdir()) == []
    (out / "tokenizer").unlink()
    victim = outside / "victim"
    victim.write_bytes(b"mine")
    (out / "manifest.json").symlink_to(victim)
    with Plan(plan) as opened:
        opened.unpack(out)
    assert victim.read_bytes() == b"mine"
    assert not (out / "manifest.json").is_symlink()


def test_a_plan_replaced_while_it_loads_is_noticed(plan, tiny, tmp_path):
    with Plan(plan) as opened:
        tiny.write(plan)
        with pytest.raises(PlanError, match="was replaced"):
            opened.check_unchanged()


def test_another_target_names_what_can_run_here(plan):
    with_manifest(plan, lambda manifest: manifest.update(target="another", spec=""))
    with pytest.raises(runtime.BackendError, match=r"'another'.*ort-cpu"):
        runtime.load(plan)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mutation_gives_a_plan_error_or_a_sound_plan(decoder_path, tmp_path, data):
    """Flip, cut and insert bytes, mostly where the structure is: the headers, the manifest, the directory."""
    original = decoder_path.read_bytes()
    with Plan(decoder_path) as opened:
        starts = [opened.offset(name) for name in opened.names]
    interesting = st.one_of(
        st.integers(0, len(original) - 1),
        st.integers(max(0, len(original) - 900), len(original) - 1),
        st.sampled_from(starts).flatmap(lambda at: st.integers(max(0, at - PAGE), min(at + 2000, len(original) - 1))),
    )
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = min(data.draw(interesting), len(mutated) - 1)
        kind = data.draw(st.sampled_from(["flip", "flip", "flip", "cut", "insert", "drop"]))
        if kind == "flip":
            mutated[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del mutated[max(at, 1) :]
        elif kind == "insert":
            mutated[at:at] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            del mutated[at : at + data.draw(st.integers(1, 9))]
    path = tmp_path / "mutated.plan"
    path.write_bytes(mutated)
    try:
        with Plan(path) as plan, warnings.catch_warnings():
            plan.model()
            for name in plan.names:
                assert plan.offset(name) + plan.size(name) <= len(mutated)
            plan.verify_hashes()
    except PlanError as error:
        said = str(error)
    else:
        said = str(path)
    assert str(path) in said
