"""Manifests from strangers: what does not fit is refused in one line."""

from __future__ import annotations

import pytest

from archc.plan import Plan, PlanError
from tests.runtime.hostile import patched, rename, with_manifest


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
