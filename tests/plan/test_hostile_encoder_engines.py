"""Engine sections of an encoder-decoder: the encoder's engine must fit that of the decoder."""

from __future__ import annotations

import json

import pytest
from msgspec import ValidationError, convert

from archc.plan import Manifest, Plan
from tests.runtime.fakes.plans import section


@pytest.fixture
def manifest(answering_path):
    """Return the manifest of an encoder-decoder for tensorrt, as plain data."""
    with Plan(answering_path) as opened:
        manifest = json.loads(opened.read("manifest.json"))
    for part, states, file in ((manifest, manifest["state"], "engine.trt"), (manifest["encoder"], [], "encoder.trt")):
        limit = part["limits"]["max_seq_len"]
        part["engine"] = section(part, states, limit, 3, limit, file)
    return manifest | {"target": "tensorrt"}


def test_two_engines_that_fit_are_accepted(manifest):
    assert convert(manifest, Manifest).encoder.engine.file == "encoder.trt"


CHANGES = {
    "no engine": (lambda m: m["encoder"].update(engine=None), "engine: expected one for each graph"),
    "other version": (lambda m: m["encoder"]["engine"].update(version="11.3.0.1"), "expected the version and devices"),
    "other device": (
        lambda m: m["encoder"]["engine"].update(compute_capabilities=["8.9"]),
        "expected the version and devices",
    ),
    "other builder": (lambda m: m["encoder"]["engine"].update(builder="tensorrt_rtx"), "does not match target"),
    "other file": (lambda m: m["encoder"]["engine"].update(file="engine.trt"), "expected the file encoder.trt"),
    "aliased state": (lambda m: m["encoder"]["engine"].update(aliased=[["a", "b"]]), "aliased state is not supported"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_an_engine_of_the_encoder_that_does_not_fit_is_refused(manifest, change, message):
    change(manifest)
    with pytest.raises(ValidationError, match=message):
        convert(manifest, Manifest)
