"""Sizes of tensors that stand in for values of a config."""

from __future__ import annotations

import pytest

from archc.archspec import SpecError
from archc.archspec.config.tensor_sizes import parse_size
from tests.archspec.samples import Load

SHAPES = {"emb.weight": (7, 5), "blocks.0.w": (1,), "blocks.1.w": (1,), "blocks.3.w": (1,)}


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        pytest.param("emb.weight[0]", 7, "axis 0 of tensor 'emb.weight'", id="rows"),
        pytest.param("emb.weight[1]", 5, "axis 1 of tensor 'emb.weight'", id="columns"),
        pytest.param("emb.weight[2]", None, "axis 2 of tensor 'emb.weight'", id="no axis"),
        pytest.param("head.weight[0]", None, "axis 0 of tensor 'head.weight'", id="no tensor"),
        pytest.param("blocks.{layer}.w", 2, "tensor 'blocks.0.w'", id="layers up to a gap"),
        pytest.param("layers.{layer}.w", None, "tensor 'layers.0.w'", id="no layers"),
    ],
)
def test_sizes(text: str, value: int | None, shown: str) -> None:
    size = parse_size(text)
    assert size is not None
    assert size.read(SHAPES, SHAPES.__getitem__) == value
    assert str(size) == shown


@pytest.mark.parametrize("text", ["emb.weight", "emb.weight[x]", "emb.weight[8]", "[0]", "a.{layer}.b[0]", "a b[0]"])
def test_texts_that_are_not_sizes(text: str, load: Load) -> None:
    with pytest.raises(
        SpecError, match=r"config\.hidden_size\.shape: .* is not a size of a tensor; write tensor\[axis\]"
    ):
        load(f"config:\n  hidden_size: {{shape: '{text}'}}\n")


def test_a_shape_is_part_of_the_text_of_a_spec(load: Load) -> None:
    spec = load("config:\n  hidden_size: {shape: ['emb.weight[1]', 'head.weight[1]']}\n")
    assert [str(size) for size in spec.names.config["hidden_size"].sizes] == [
        "axis 1 of tensor 'emb.weight'",
        "axis 1 of tensor 'head.weight'",
    ]
    assert "head.weight[1]" in spec.text
    assert spec.bind({"hidden_size": 32}).embedding.width == 32
