"""Malicious and damaged plan files: each is rejected with a PlanError that names the fault."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archc import runtime
from archc.plan import Plan, PlanError, archive
from archc.plan.archive import CENTRAL, PAGE
from tests.plan.hostile import central, patched, rename, rezipped, with_manifest


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a plan at all" * 20, b"PK\x05\x06" + bytes(18), b"\x80\x04" * 100],
    ids=["empty", "two bytes", "text", "empty zip", "pickle"],
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
    ids=repr,
)
def test_an_entry_name_that_is_not_a_plain_relative_path_is_refused(plan, name):
    with pytest.raises(PlanError, match=r"do not trust|not UTF-8"):
        Plan(patched(plan, rename(b"weights.bin", name)))


def test_duplicate_entries_are_refused(tiny, tmp_path):
    plan = tiny.write(tmp_path / "p", extra={"model.onny": b"twin"})
    with pytest.raises(PlanError, match="appears twice"):
        Plan(patched(plan, rename(b"model.onny", b"model.onnx")))


def test_entries_that_differ_only_in_case_are_refused(tiny, tmp_path):
    with pytest.raises(PlanError, match="differ only in case"):
        Plan(tiny.write(tmp_path / "p", extra={"MODEL.onnx": b"twin"}))


def test_overlapping_entries_are_refused(plan):
    """Both records of an entry have a size that extends into the next entry."""

    def edit(data):
        with zipfile.ZipFile(plan) as zipped:
            info = zipped.getinfo("model.onnx")
        longer = struct.pack("<QQ", info.file_size + 2 * PAGE, info.file_size + 2 * PAGE)
        data[:] = data.replace(struct.pack("<QQ", info.file_size, info.file_size), longer)

    with pytest.raises(PlanError, match="' overlap; build"):
        Plan(patched(plan, edit))


def test_compressed_entries_are_refused(plan, tmp_path):
    with pytest.raises(PlanError, match="is compressed, expected stored"):
        Plan(rezipped(plan, tmp_path / "bomb.plan", zipfile.ZIP_DEFLATED))


def test_a_repacked_plan_is_refused_because_its_weights_are_not_aligned(plan, tmp_path):
    with pytest.raises(PlanError, match="not aligned"):
        Plan(rezipped(plan, tmp_path / "again.plan"))


def test_a_wrong_size_in_the_directory_is_refused(plan):
    def edit(data):
        at = central(data, b"weights.bin") + CENTRAL.size + len(b"weights.bin") + 4
        struct.pack_into("<QQ", data, at, 1 << 40, 1 << 40)

    with pytest.raises(PlanError, match="differs from the directory"):
        Plan(patched(plan, edit))


def test_a_wrong_size_in_both_records_is_refused(plan):
    def edit(data):
        with zipfile.ZipFile(plan) as zipped:
            size = zipped.getinfo("manifest.json").file_size
        data[:] = data.replace(struct.pack("<QQ", size, size), struct.pack("<QQ", 1 << 60, 1 << 60))

    with pytest.raises(PlanError, match="ends outside the file"):
        Plan(patched(plan, edit))


def put(layout, signature, at, *values):
    """Return an edit that writes values into the last record with a signature."""
    return lambda data: struct.pack_into(layout, data, data.rindex(signature) + at, *values)


def put_in_entry(layout, at, *values):
    """Return an edit that writes values into the directory's record of weights.bin, `at` bytes after its name."""
    name = b"weights.bin"
    return lambda data: struct.pack_into(layout, data, central(data, name) + CENTRAL.size + len(name) + at, *values)


ENTRIES = 3
DAMAGE = {
    "entries in the end record": (put("<H", b"PK\x05\x06", 8, 7), "the end record is missing"),
    "disks in the ZIP64 locator": (put("<I", b"PK\x06\x07", 16, 2), "the ZIP64 locator is wrong"),
    "size of the ZIP64 end record": (put("<Q", b"PK\x06\x06", 4, 45), "the ZIP64 end record is wrong"),
    "absurd number of entries": (put("<QQ", b"PK\x06\x06", 24, 1 << 50, 1 << 50), "not at its recorded offset"),
    "offset of the directory": (put("<Q", b"PK\x06\x06", 48, 4096), "not at its recorded offset"),
    "one entry fewer": (put("<QQ", b"PK\x06\x06", 24, ENTRIES - 1, ENTRIES - 1), "the directory has .* unused bytes"),
    "one entry more": (put("<QQ", b"PK\x06\x06", 24, ENTRIES + 1, ENTRIES + 1), "the directory ends within an entry"),
    "signature of an entry": (put("<H", b"PK\x01\x02", 0, 0), "the directory is damaged at byte"),
    "length of the extra field": (put_in_entry("<H", 2, 23), "the extra field is damaged"),
    "no ZIP64 sizes": (put_in_entry("<H", 0, 2), "the ZIP64 sizes are missing"),
    "offset of an entry": (put_in_entry("<Q", 20, 1 << 40), "starts outside the file"),
}


@pytest.mark.parametrize(("edit", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_directory_is_refused(plan, edit, message):
    with Plan(plan) as opened:
        assert len(opened.names) == ENTRIES
    with pytest.raises(PlanError, match=message):
        Plan(patched(plan, edit))


def test_the_size_of_the_directory_is_bounded(plan, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ENTRIES", ENTRIES - 1)
    with pytest.raises(PlanError, match=r"the directory has 3 entries in \d+ bytes, expected at most 2"):
        Plan(plan)


def test_an_encrypted_entry_is_refused(plan):
    def edit(data):
        struct.pack_into("<H", data, central(data, b"weights.bin") + 8, 0x801)

    with pytest.raises(PlanError, match=r"encryption and streaming .* are not supported"):
        Plan(patched(plan, edit))


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


@pytest.mark.parametrize(
    ("name", "message"),
    [("tokenizer", r"did not write \(tokenizer\)"), ("manifest.json", "was not written by archc")],
    ids=["folder", "file"],
)
def test_unpack_does_not_follow_links_out_of_its_folder(tiny, tmp_path, name, message):
    plan = tiny.write(tmp_path / "p")
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    with Plan(plan) as opened:
        opened.unpack(out)
        (out / name).rename(outside / name)
        (out / name).symlink_to(outside / name)
        before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
        with pytest.raises(PlanError, match=message):
            opened.unpack(out)
    assert before == {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert (out / name).is_symlink()


def test_a_plan_that_is_replaced_during_loading_is_an_error(plan, tiny, tmp_path):
    with Plan(plan) as opened:
        tiny.write(plan)
        with pytest.raises(PlanError, match="was replaced during loading"):
            opened.check_unchanged()
        plan.unlink()
        with pytest.raises(PlanError, match="was deleted during loading"):
            opened.check_unchanged()


def test_a_plan_that_is_truncated_while_it_is_open_is_an_error(plan):
    with Plan(plan) as opened:
        os.truncate(plan, opened.offset("weights.bin") + 8)
        for read in (lambda: opened.read("weights.bin"), opened.verify_hashes):
            with pytest.raises(PlanError, match=r"weights\.bin ends early"):
                read()


def test_an_unsupported_target_is_an_error_that_lists_the_supported_ones(plan):
    with_manifest(plan, lambda manifest: manifest.update(target="another", spec=""))
    with pytest.raises(runtime.BackendError, match=r"'another' is not supported; .*ort-cpu"):
        runtime.load(plan)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mutation_gives_a_plan_error_or_a_sound_plan(decoder_path, tmp_path, data):
    """Flip, cut and insert bytes, mostly in the headers, the manifest and the directory."""
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
        if not mutated:
            break  # nothing is left to change
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
    message = str(path)
    try:
        with Plan(path) as plan, warnings.catch_warnings():
            plan.model()
            for name in plan.names:
                assert plan.offset(name) + plan.size(name) <= len(mutated)
            plan.verify_hashes()
    except PlanError as error:
        message = str(error)
    assert str(path) in message
