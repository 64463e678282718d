"""Plans are read back as written, open in any zip tool, and are complete or absent after an error."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile

import numpy as np
import onnxruntime
import pytest
from msgspec import convert

from archc.plan import Manifest, Plan, PlanError, PlanWriter


def left_over(folder):
    return [entry.name for entry in folder.iterdir() if entry.name.endswith(".tmp")]


def test_what_is_written_is_read_back(tiny, tmp_path):
    plan = tiny.write(tmp_path / "p", extra={"tokenizer/généré.json": b"{}"})
    with Plan(plan) as opened:
        assert opened.names[-1] == "manifest.json"
        assert opened.read("tokenizer/généré.json") == b"{}"
        assert opened.manifest.archc == "0.1.0"
        assert opened.manifest.config == {"hidden_size": 16}
        for name, entry in opened.manifest.entries.items():
            data = opened.read(name)
            assert hashlib.sha256(data).hexdigest() == entry.sha256
            assert plan.read_bytes()[opened.offset(name) : opened.offset(name) + entry.bytes] == data
            assert opened.offset(name) % 4096 == 0
        opened.verify_hashes()
        with pytest.raises(PlanError, match=r"entry 'engine\.trt' not found"):
            opened.read("engine.trt")


def test_any_unzip_and_onnx_runtime_open_it(decoder_path, decoder, tmp_path):
    with zipfile.ZipFile(decoder_path) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[3, 4, 5]])
    feeds = {
        "input_ids": ids,
        "position_ids": np.arange(3)[None],
        "write_indices": np.zeros(1, np.int64),
        "attn_mask": np.tril(np.ones((3, 3), np.bool_))[None, None],
        "logit_positions": np.arange(3)[None],
        **{state["input"]: np.zeros((1, 2, 8, 8), np.float32) for state in manifest["state"]},
    }
    assert np.abs(session.run(["logits"], feeds)[0] - decoder.logits(ids)).max() < 1e-5


def test_unpack_writes_every_entry(decoder_path, tmp_path):
    with Plan(decoder_path) as opened:
        written = opened.unpack(tmp_path / "new" / "folder")
        assert sorted(written) == sorted((tmp_path / "new" / "folder").resolve() / name for name in opened.names)
        assert (tmp_path / "new/folder/tokenizer/tokenizer.json").read_bytes() == opened.read(
            "tokenizer/tokenizer.json"
        )


def test_unpack_into_a_file_is_explained(decoder_path, tmp_path):
    (tmp_path / "file").write_text("")
    with Plan(decoder_path) as opened, pytest.raises(PlanError, match="is not a folder"):
        opened.unpack(tmp_path / "file")


def test_the_same_input_gives_the_same_bytes(tiny, tmp_path):
    assert tiny.write(tmp_path / "a").read_bytes() == tiny.write(tmp_path / "b").read_bytes()


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_exception_leaves_the_old_file(tiny, tmp_path, error):
    path = tiny.write(tmp_path / "engine.plan")
    old = path.read_bytes()

    def interrupted():
        with PlanWriter(path) as writer, writer.stream("weights.bin") as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert path.read_bytes() == old
    assert left_over(tmp_path) == []


def test_leaving_without_finish_is_an_error(tmp_path):
    with pytest.raises(PlanError, match="the plan is unfinished"), PlanWriter(tmp_path / "p") as writer:
        writer.add("model.onnx", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path):
    def write():
        with PlanWriter(tmp_path / "p") as writer:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, writer._file.fileno())
            os.close(full)
            with writer.stream("weights.bin") as stream:
                stream.write(bytes(1 << 20))

    with pytest.raises(PlanError, match="the disk is full"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_outside_of_the_streams_is_explained(tmp_path):
    with pytest.raises(PlanError, match="the disk is full"), PlanWriter(tmp_path / "p"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_the_file_is_closed_does_not_hide_the_error(tmp_path):
    def write():
        with PlanWriter(tmp_path / "p") as writer:
            writer._file.write(b"in the buffer")
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, writer._file.fileno())
            os.close(full)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_failing_flush_is_explained(tiny, tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(PlanError, match="the disk is full"):
        tiny.write(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_or_a_folder_in_the_way_is_explained(tiny, tmp_path):
    with pytest.raises(PlanError, match="does not exist"):
        tiny.write(tmp_path / "none" / "p")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PlanError, match="a folder of that name"):
        tiny.write(tmp_path / "folder")
    assert left_over(tmp_path) == []


NAMES = {
    "absolute": "/a",
    "parent folder": "../a",
    "parent folder inside": "a/../b",
    "empty": "",
    "backslash": "a\\b",
    "colon": "c:",
    "NUL": "a\0",
    "long": "x" * 300,
    "lone surrogate": "\ud800",
    "dot at the end": "dot.",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_bad_entry_names_are_refused(tmp_path, name):
    with PlanWriter(tmp_path / "p") as writer:
        with pytest.raises(PlanError, match="use a plain relative path"):
            writer.add(name, b"")
        writer.add("model.onnx", b"")
        writer.finish(convert(_minimal(), Manifest))


def test_an_entry_is_written_once_and_the_manifest_by_finish(tmp_path):
    with PlanWriter(tmp_path / "p") as writer:
        writer.add("model.onnx", b"")
        for name in ("model.onnx", "manifest.json"):
            with pytest.raises(PlanError, match="already exists or is the manifest"):
                writer.add(name, b"")
        writer.finish(convert(_minimal(), Manifest))


def test_two_entries_cannot_be_open_at_once(tmp_path):
    def both():
        with PlanWriter(tmp_path / "p") as writer, writer.stream("a"), writer.stream("b") as second:
            second.write(b"")

    with pytest.raises(PlanError, match="entry 'a' is still open"):
        both()


def test_tensors_outside_the_weights_are_refused_before_the_rename(tiny, tmp_path):
    def change(model, manifest):
        manifest["tensors"][-1]["offset"] += 64

    with pytest.raises(PlanError, match="ends at byte"):
        tiny.write(tmp_path / "p", change=change)
    assert list(tmp_path.iterdir()) == []


def test_streams_accept_arrays_and_count_bytes(tmp_path):
    array = np.arange(3, dtype=np.float32)
    with PlanWriter(tmp_path / "p") as writer:
        writer.add("model.onnx", b"")
        with writer.stream("weights.bin") as stream:
            assert stream.write(array) == 12
            assert stream.tell() == 12
        writer.finish(convert(_minimal(), Manifest))
    with Plan(tmp_path / "p") as opened:
        assert opened.read("weights.bin") == array.tobytes()


def test_a_disk_that_cannot_be_read_is_explained(decoder_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("archc.plan.reader.read_directory", fail)
    with pytest.raises(PlanError, match="the plan cannot be read: Input/output error; check the disk"):
        Plan(decoder_path)


def test_an_entry_is_mapped_where_it_is_in_the_file(tiny, tmp_path):
    with Plan(tiny.write(tmp_path / "p", extra={"empty": b""})) as opened:
        with opened.mapped("weights.bin") as data:
            assert bytes(data) == opened.read("weights.bin")
        with pytest.raises(PlanError, match="empty is empty; build the plan again"), opened.mapped("empty"):
            pass


def test_the_size_of_a_model_is_bounded_when_read(tiny, tmp_path, monkeypatch):
    from archc.plan import reader

    monkeypatch.setitem(reader._LIMITS, "model.onnx", 10)
    with Plan(tiny.write(tmp_path / "p")) as opened, pytest.raises(PlanError, match="expected at most 10 bytes"):
        opened.read("model.onnx")


def _minimal():
    """Return the smallest manifest, as plain data."""
    return {
        "archc": "0",
        "family": "f",
        "topology": "encoder",
        "spec": "",
        "config": {},
        "target": "t",
        "dtype": "float32",
        "inputs": [{"name": "i", "role": "token_ids", "dtype": "int64", "shape": ["batch", "seq"]}],
        "outputs": [],
        "limits": {"max_seq_len": 1, "vocab_size": 1},
        "parameters": 0,
        "flops_per_token": 0,
    }
