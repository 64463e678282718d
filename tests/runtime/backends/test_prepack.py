"""Packed and memory-mapped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archc import runtime
from archc.runtime import EngineError, Prepack
from tests.plan.hostile import with_manifest


@pytest.fixture
def quantized(tiny, tmp_path):
    """The tiny decoder, with a manifest that declares int4 weights."""
    return with_manifest(tiny.write(tmp_path / "int4.plan"), lambda manifest: manifest.update(quantization="int4"))


def test_weights_are_mapped_from_the_plan_and_not_copied(tiny, tmp_path):
    plan = tiny.write(tmp_path / "mapped.plan")
    engine = runtime.load(plan, threads=1, prepack="never")
    with Path("/proc/self/maps").open() as maps:
        assert any("mapped.plan" in line for line in maps)
    assert np.abs(engine.logits([1, 2, 3])[0] - tiny.expected([1, 2, 3])).max() < 1e-4


def test_quantized_weights_must_be_packed(quantized):
    with pytest.raises(EngineError, match=r"prepack: 'never' is not supported for int4 weights.*without --quantize"):
        runtime.load(quantized, prepack="never")


def test_weights_are_packed_by_default_and_automatically_only_if_quantized(decoder_path, quantized):
    assert runtime.load(decoder_path)._backend.prepacked
    assert runtime.load(decoder_path, prepack=Prepack.ALWAYS)._backend.prepacked
    assert not runtime.load(decoder_path, prepack="auto")._backend.prepacked
    assert runtime.load(quantized, prepack="auto")._backend.prepacked


@pytest.mark.parametrize("value", [True, None, "sometimes"], ids=repr)
def test_other_values_are_refused(decoder_path, value):
    with pytest.raises(EngineError, match=r"prepack: expected 'always', 'never', 'auto', got "):
        runtime.load(decoder_path, prepack=value)
