from __future__ import annotations

import pytest

from archc.archspec import SpecError
from tests.archspec.samples import Load


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a: 3", "expected the name of a checkpoint tensor or module, or a list of names"),
        ("a: []", "expected the name of a checkpoint tensor"),
        ("'a b': x", "invalid name of a slot; use names separated by dots"),
        ("a: {split: {parts: [1, 2]}}", "missing key 'from'; add the name of the checkpoint tensor"),
        ("a: {from: x, split: {parts: [1, 2]}}", "split has several parts, but the key is one slot"),
        ("'{a,b}': {from: x, split: {parts: [1, 2], take: 0}}", "`take` and {a,b} both select the part"),
        ("a: {from: x, split: {parts: [1, 2], take: 2}}", "index 2 is out of range for 2 parts; use at most 1"),
        ("'{a,b}': {from: '{x,y}', split: {parts: [1, 2]}}", "split reads one tensor, but the name has alternatives"),
        ("a: {from: x, split: {parts: [1, hiden_size], take: 0}}", "unknown name 'hiden_size'"),
        ("a: {from: x, split: {parts: [1, layer], take: 0}}", "the name 'layer' is defined in per-layer sections only"),
        ("a: {from: x, split: {part: [1], take: 0}}", "unknown key 'part'"),
        ("'{a,b}': {from: x, split: true}", "missing key 'parts'"),
        ("a: {from: x, transpose: false}", "expected true"),
        ("a: {from: x, concat: true}", "concat requires several tensors; list two or more names in `from`"),
        ("a: {from: x, stack: {count: 2}}", "stack reads numbered tensors, but 'x' has no number"),
        ("a: 'x.{index}'", "unknown placeholder '{index}' in 'x.{index}'"),
        (
            "a: {from: ['x.{index}', 'y.{index}'], concat: true, stack: {count: 2}}",
            "concat and stack cannot be combined",
        ),
        ("a: {from: 'x.{index}', stack: {count: 0}}", "must be positive"),
        ("a: {from: x, select: {axis: 2}}", "missing key 'index'"),
        ("a: {from: x, select: {axis: 2, index: [-1]}}", "must be at least 0"),
        ("a: {from: x, normalize: true}", "missing key 'eps'"),
        ("a: {from: x, normalize: {eps: 0.0}}", "must be positive"),
        ("a: 'h.{layer}'", "{layer} in an entry that does not belong to a layer"),
        ("a: null", "null removes an inherited entry; no entry 'a' is inherited"),
    ],
)
def test_invalid_entries(load: Load, entry: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load(f"weights:\n  tensors:\n    {entry}\n")
    assert message in str(raised.value)


def test_a_size_that_is_not_positive(load: Load) -> None:
    with pytest.raises(
        SpecError, match=r"weights\.tensors\.a\.split\.parts\[1\]: hidden_size - 64 = 0 must be positive"
    ):
        load("weights:\n  tensors:\n    '{a,b}': {from: x, split: {parts: [1, hidden_size - 64]}}\n").bind()
