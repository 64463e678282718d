"""Entries of the weight table for the experts of a mixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import (
    ArchspecError,
    BoundWeights,
    Concat,
    Select,
    Split,
    TensorRef,
    Transpose,
    WeightsError,
    load_spec,
)


def table(folder: Path, *lines: str) -> BoundWeights:
    """The table of mixtral with these lines in place of its expert entries."""
    text = "family: own\nextends: mixtral\nsizes: {x: {vocab_size: 9, hidden_size: 8, intermediate_size: 4, "
    text += "num_hidden_layers: 12, num_attention_heads: 2, num_key_value_heads: 2}}\nweights:\n  tensors:\n"
    removed = "    layer.mlp.expert.{gate,down,up}: null\n"
    (folder / "own.yaml").write_text(text + removed + "".join(f"    {line}\n" for line in lines), "utf-8")
    return load_spec(folder / "own.yaml").bind(size="x").weights


def test_each_expert_has_its_name(tmp_path: Path) -> None:
    weights = table(tmp_path, "layer.mlp.expert.up: h.{layer}.e.{expert}.w3", "layer.mlp.experts.7.up: odd.{layer}.one")
    slots = {f"layers.{n}.mlp.experts.{e}.up.weight": (4, 8) for n, e in ((1, 0), (11, 10), (1, 7))}
    resolution = weights.resolve(slots, ["h.1.e.0.w3.weight", "h.11.e.10.w3.weight", "odd.1.one.weight"])
    assert [source.names[0] for source in resolution.sources.values()] == [
        "h.1.e.0.w3.weight",
        "h.11.e.10.w3.weight",
        "odd.1.one.weight",
    ]


def test_a_name_has_the_quotient_and_the_remainder_of_the_layer(tmp_path: Path) -> None:
    weights = table(tmp_path, "layer.mlp.expert.up: h.{layer // 4}.{layer % 4}.e.{expert}.w3")
    slots = {f"layers.{layer}.mlp.experts.0.up.weight": (4, 8) for layer in (3, 11)}
    names = ["h.0.3.e.0.w3.weight", "h.2.3.e.0.w3.weight"]
    assert [source.names for source in weights.resolve(slots, names).sources.values()] == [(name,) for name in names]


def test_unstack_selects_the_part_of_an_expert_first(tmp_path: Path) -> None:
    weights = table(
        tmp_path,
        "layer.mlp.expert.{gate,up}: {from: 'h.{layer}.both', unstack: true, "
        "split: {groups: 4, parts: [1, 1], axis: 1}, transpose: true}",
    )
    shapes = {"weight": (4, 8), "bias": (4,)}
    slots = {f"layers.0.mlp.experts.{e}.{n}.{k}": shapes[k] for e in (0, 3) for n in ("gate", "up") for k in shapes}
    sources = weights.resolve(slots, ["h.0.both.weight", "h.0.both.bias"]).sources
    split = {take: Split(parts=(1, 1), groups=4, axis=1, take=take) for take in (0, 1)}
    assert sources["layers.0.mlp.experts.3.up.weight"] == TensorRef(
        ("h.0.both.weight",), (Select(axis=0, index=(3,)), split[1], Transpose())
    )
    assert sources["layers.0.mlp.experts.0.gate.bias"] == TensorRef(
        ("h.0.both.bias",), (Select(axis=0, index=(0,)), split[0].model_copy(update={"axis": 0}))
    )


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    weights = table(tmp_path, "layer.mlp.expert.up: h.{layer}.e.{expert}.w3")
    with pytest.raises(WeightsError) as raised:
        weights.resolve({"layers.0.mlp.experts.1.up.weight": (4, 8)}, ["h.0.e.0.w3.weight"])
    text = str(raised.value)
    assert "layers.0.mlp.experts.1.up.weight: the slot is not filled: 'h.0.e.1.w3.weight' not found in" in text
    assert "unused tensor 'h.0.e.0.w3.weight'" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layer.mlp.expert.up: h.{layer}.w3", "all experts read the same tensor 'h.{layer}.w3'"),
        ("layer.mlp.other.up: h.{layer}.{expert}", "{expert} in an entry that does not belong to an expert"),
        (
            "layer.mlp.other.up: {from: 'h.{layer}', unstack: true}",
            "unstack in an entry that does not belong to an expert",
        ),
        (
            "layer.mlp.expert.up: {from: 'h.{layer}.{expert}', unstack: true}",
            "unstack reads one tensor of all experts, but the name contains {expert}",
        ),
        (
            "layer.mlp.expert.up: {from: 'h.{layer}.w', transpose: true, unstack: true}",
            "unstack follows another verb; write it first",
        ),
        ("layer.mlp.expert.up: {from: 'h.{layer}.w', unstack: 3}", "unstack: expected true"),
    ],
    ids=["no number", "other module", "unstack of another module", "number and unstack", "unstack last", "not a flag"],
)
def test_invalid_entries(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchspecError) as raised:
        table(tmp_path, line)
    assert message in str(raised.value)


def test_rows_of_a_matrix_of_all_experts(tmp_path: Path) -> None:
    line = "layer.mlp.expert.up: {from: 'a.{layer}', reshape: {shape: [4, 6, 8]}, unstack: true, transpose: true}"
    weights = table(tmp_path, line)
    slots = {f"layers.0.mlp.experts.{expert}.up.weight": (8, 6) for expert in range(4)}
    resolution = weights.resolve(slots, ["a.0.weight"])
    steps = resolution.sources["layers.0.mlp.experts.2.up.weight"].steps
    assert steps == (Split(parts=(6, 6, 6, 6), take=2), Transpose())


def test_only_parts_of_concatenated_tensors_are_read(tmp_path: Path) -> None:
    weights = table(
        tmp_path, "layer.mlp.expert.up: {from: ['a.{layer}', 'b.{layer}'], unstack: true, concat: {axis: 0}}"
    )
    resolution = weights.resolve({"layers.0.mlp.experts.2.up.weight": (4, 8)}, ["a.0.weight", "b.0.weight"])
    assert resolution.sources["layers.0.mlp.experts.2.up.weight"].steps == (Select(axis=0, index=(2,)), Concat(axis=0))
