"""Malicious and damaged manifests: each is rejected with a message of one line."""

from __future__ import annotations

import pytest

from archc.plan import Plan, PlanError
from tests.plan.hostile import patched, rename, with_manifest


def test_a_newer_format_names_the_version_of_archc_to_install(plan):
    def change(manifest):
        manifest.update(format=2, archc="9.1.0", spec="", new_thing={})

    with pytest.raises(PlanError, match=r"install archc 9\.1\.0 or newer"):
        Plan(with_manifest(plan, change))


def make_ring(manifest, **limits):
    """Turn the KV cache into ring buffers of a window of 4 tokens."""
    for state in manifest["state"]:
        state.update(kind="ring", window=4, shape=["batch", 2, "ring_4", 8])
    manifest["inputs"][2]["mask"].update(kind="causal", window=4, ring=True)
    manifest["limits"].update(limits)
    manifest.update(spec="", config={})  # leaves space in the file


CHANGES = {
    "unknown key": (lambda m: m.update(spec="", extra=1), "extra"),
    "format is text": (lambda m: m.update(format="1"), "format"),
    "format is a boolean": (lambda m: m.update(format=True), "format"),
    "no limits": (lambda m: m.pop("limits"), "limits"),
    "longest sequence below the limit": (
        lambda m: m["limits"].update(longest_sequence=m["limits"]["max_seq_len"] - 1),
        "longest_sequence: expected at least max_seq_len, 64, got 63",
    ),
    "negative vocabulary": (lambda m: m["limits"].update(vocab_size=-1), "vocab_size"),
    "other vocabulary": (lambda m: m["limits"].update(vocab_size=263), "limits.vocab_size, 263, got"),
    "no token ids": (lambda m: m["inputs"].pop(0), "no input of role token_ids"),
    "repeated input name": (lambda m: m["inputs"][0].update(name="attn_mask"), "'attn_mask': expected once, got 2"),
    "repeated input role": (lambda m: m["inputs"][1].update(role="token_ids"), "'token_ids': expected once, got 2"),
    "repeated tensor": (
        lambda m: m["tensors"][1].update(name=m["tensors"][0]["name"]),
        "tensor 'embed': expected once, got 2",
    ),
    "mask without description": (lambda m: m["inputs"][2].update(mask=None), "expected `mask` for role 'mask'"),
    "description without mask": (
        lambda m: (m.update(spec="", config={}), m["inputs"][0].update(mask={"kind": "causal"})),
        "expected `mask` for role 'mask'",
    ),
    "ring mask without window": (
        lambda m: m["inputs"][2]["mask"].update(ring=True, window=None),
        "a ring mask must be causal with a window",
    ),
    "chunks without window": (
        lambda m: m["inputs"][2]["mask"].update(chunked=True, window=None),
        "chunks require a window, their size",
    ),
    "empty dimension": (lambda m: m["state"][0].update(shape=["batch", 0, "capacity", 8]), "state"),
    "no mask": (lambda m: m.update(inputs=[i for i in m["inputs"] if i["role"] != "mask"]), "no input of role mask"),
    "recurrent without lengths": (
        lambda m: [s.update(kind="fixed", shape=["batch", 8]) for s in m["state"]],
        "no input of role lengths",
    ),
    "decoder without logits": (lambda m: m["outputs"][0].update(role="pooled"), "no output of role logits"),
    "encoder with state": (lambda m: m.update(topology="encoder", spec=""), "state is not supported"),
    "prefix without a prefix mask": (
        lambda m: m.update(spec="", config={}, prefix={"end": 1, "blanks": [2]}),
        "expected `prefix` with a prefix mask",
    ),
    "prefix mask without prefix": (
        lambda m: m["inputs"][2]["mask"].update(kind="prefix"),
        "expected `prefix` with a prefix mask",
    ),
    "cross output of a decoder": (
        lambda m: (
            m.update(spec="", config={}),
            m["outputs"].append({**m["outputs"][0], "name": "x", "role": "cross"}),
        ),
        "'cross' is not supported outside of `encoder`",
    ),
    "start token outside of the vocabulary": (lambda m: m["tokens"].update(start=[264]), "ids of the vocabulary"),
    "block state without a block": (lambda m: m["state"][0].update(kind="block"), "expected `block` for kind 'block'"),
    "block of another state": (lambda m: m["state"][0].update(block=4), "expected `block` for kind 'block'"),
    "ring state without window": (lambda m: m["state"][0].update(kind="ring"), "expected `window` for kind 'ring'"),
    "window without ring state": (lambda m: m["state"][0].update(window=4), "expected `window` for kind 'ring'"),
    "ring state without max_call": (
        lambda m: make_ring(m, max_call=None),
        r"limits\.max_call: expected a number for a plan with ring buffers, got null",
    ),
    "tensor of another size": (lambda m: m["tensors"][0].update(bytes=4), "expected 16896 bytes"),
    "tensor outside of the weights": (lambda m: m["tensors"][0].update(offset=1 << 30), "ends at byte"),
    "negative offset": (lambda m: m["tensors"][0].update(offset=-64), "offset"),
    "entry without a record": (lambda m: m["entries"].pop("weights.bin"), "expected in both the file and its manifest"),
    "entry of another size": (lambda m: m["entries"]["weights.bin"].update(bytes=7), "expected 7 bytes"),
    "invalid hash": (lambda m: m["entries"]["weights.bin"].update(sha256="x"), "sha256"),
    "empty": (lambda m: m.clear(), "manifest"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_an_invalid_manifest_is_rejected(plan, change, message):
    with pytest.raises(PlanError, match=message):
        Plan(with_manifest(plan, change))


def test_ring_state_with_max_call_is_accepted(plan):
    with Plan(with_manifest(plan, lambda manifest: make_ring(manifest, max_call=8))) as opened:
        assert opened.manifest.limits.max_call == 8


TEXTS = {
    "list": b"[]",
    "number": b"1",
    "text": b"nonsense",
    "not UTF-8": b"\xff\xfe",
    "nested lists": b"[" * 3000,
    "nested objects": b'{"a":' * 3000,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_manifest_that_is_not_an_object_is_rejected(plan, text):
    with Plan(plan) as opened:
        at, size = opened.offset("manifest.json"), opened.size("manifest.json")

    def edit(data):
        data[at : at + size] = text[:size].ljust(size)

    with pytest.raises(PlanError, match=r"manifest\.json"):
        Plan(patched(plan, edit))


def test_a_missing_model_is_rejected(plan):
    with pytest.raises(PlanError, match=r"entry 'model\.onnx' not found"):
        Plan(patched(plan, rename(b"model.onnx", b"mudel.onnx")))
