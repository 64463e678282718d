"""Mixtures of experts in the language: combinations without sense, and how weight tables name experts."""

from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import (
    ArchspecError,
    BoundWeights,
    Concat,
    Select,
    Source,
    Split,
    Transpose,
    WeightsError,
    load_spec,
)

GROUPS = "mlp.router.groups={count: %d, chosen: %d, by: %s}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mlp.per_token=9"], "mlp.per_token: a token cannot use 9 of 8 experts"),
        (["mlp.router.over=chosen"], "mlp.router.renormalize: a softmax over the chosen experts sums to one already"),
        (
            ["mlp.router.over=chosen", "mlp.router.renormalize=false", "mlp.router.selection_bias=true"],
            "mlp.router.selection_bias: a selection bias is added to scores, which `over: chosen` makes after",
        ),
        (
            ["mlp.router.over=chosen", "mlp.router.score=sigmoid", GROUPS % (2, 1, "max")],
            "mlp.router.groups: groups are chosen by scores, which `over: chosen` makes after",
        ),
        ([GROUPS % (3, 1, "max")], "mlp.router.groups.count: 8 experts do not form 3 equal groups"),
        ([GROUPS % (2, 2, "max")], "mlp.router.groups.chosen: choosing 2 of 2 groups limits nothing"),
        ([GROUPS % (8, 1, "max")], "mlp.router.groups.chosen: 1 groups of 1 have no 2 experts to choose"),
        ([GROUPS % (8, 2, "top-2")], "mlp.router.groups.by: a group of one expert has no best two"),
        (["mlp.shared_gate=true"], "mlp.shared_gate: there is no shared expert to gate"),
        (
            ["mlp.expert.activation=relu", "mlp.expert.beta=1.7"],
            "mlp.expert.beta: beta is a factor inside silu, and the activation is 'relu'",
        ),
        (
            ["mlp.shared={kind: gated, width: 8, activation: gelu, beta: 2.0}"],
            "mlp.shared.beta: beta is a factor inside silu, and the activation is 'gelu'",
        ),
        (["mlp.expert.kind=moe"], "'moe' is not one of"),
        (["mlp.experts=5000"], "must be at most 4,096"),
    ],
)
def test_senseless_combinations(overrides: list[str], message: str) -> None:
    with pytest.raises(ArchspecError) as raised:
        load_spec("mixtral", overrides).bind(size="8x7b")
    assert message in str(raised.value)
    assert len(raised.value.problems) == 1


def test_two_overrides_of_one_section_both_count() -> None:
    bound = load_spec("mixtral", ["mlp.expert.beta=1.5", "mlp.expert.limit=2.0"]).bind(size="8x7b")
    assert (bound.layers[0].mlp.expert.beta, bound.layers[0].mlp.expert.limit) == (1.5, 2.0)


def table(folder: Path, *lines: str) -> BoundWeights:
    """Mixtral's table with the given lines in place of its experts'."""
    text = "family: own\nextends: mixtral\nsizes: {x: {vocab_size: 9, hidden_size: 8, intermediate_size: 4, "
    text += "num_hidden_layers: 12, num_attention_heads: 2, num_key_value_heads: 2}}\nweights:\n  tensors:\n"
    kept = "    layer.mlp.expert.{gate,down,up}: null\n"
    (folder / "own.yaml").write_text(text + kept + "".join(f"    {line}\n" for line in lines), "utf-8")
    return load_spec(folder / "own.yaml").bind(size="x").weights


def test_experts_have_names_of_their_own(tmp_path: Path) -> None:
    weights = table(tmp_path, "layer.mlp.expert.up: h.{layer}.e.{expert}.w3", "layer.mlp.experts.7.up: odd.{layer}.one")
    slots = {f"layers.{n}.mlp.experts.{e}.up.weight": (4, 8) for n, e in ((1, 0), (11, 10), (1, 7))}
    found = weights.resolve(slots, ["h.1.e.0.w3.weight", "h.11.e.10.w3.weight", "odd.1.one.weight"])
    assert [source.names[0] for source in found.sources.values()] == [
        "h.1.e.0.w3.weight", "h.11.e.10.w3.weight", "odd.1.one.weight",
    ]  # fmt: skip


def test_a_stacked_tensor_gives_each_expert_its_part_first_of_all(tmp_path: Path) -> None:
    weights = table(
        tmp_path,
        "layer.mlp.expert.{gate,up}: {from: 'h.{layer}.both', unstack: true, "
        "split: {groups: 4, parts: [1, 1], axis: 1}, transpose: true}",
    )
    shapes = {"weight": (4, 8), "bias": (4,)}
    slots = {f"layers.0.mlp.experts.{e}.{n}.{k}": shapes[k] for e in (0, 3) for n in ("gate", "up") for k in shapes}
    found = weights.resolve(slots, ["h.0.both.weight", "h.0.both.bias"]).sources
    cut = {take: Split(parts=(1, 1), groups=4, axis=1, take=take) for take in (0, 1)}
    assert found["layers.0.mlp.experts.3.up.weight"] == Source(
        ("h.0.both.weight",), (Select(axis=0, index=(3,)), cut[1], Transpose())
    )
    assert found["layers.0.mlp.experts.0.gate.bias"] == Source(
        ("h.0.both.bias",), (Select(axis=0, index=(0,)), cut[0].model_copy(update={"axis": 0}))
    )


def test_a_missing_expert_is_named(tmp_path: Path) -> None:
    weights = table(tmp_path, "layer.mlp.expert.up: h.{layer}.e.{expert}.w3")
    with pytest.raises(WeightsError) as raised:
        weights.resolve({"layers.0.mlp.experts.1.up.weight": (4, 8)}, ["h.0.e.0.w3.weight"])
    text = str(raised.value)
    assert "layers.0.mlp.experts.1.up.weight: the slot is not filled: the checkpoint has no 'h.0.e.1.w3.weight'" in text
    assert "nothing reads the tensor 'h.0.e.0.w3.weight'" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("layer.mlp.expert.up: h.{layer}.w3", "every expert would read all of 'h.{layer}.w3'"),
        ("layer.mlp.other.up: h.{layer}.{expert}", "belongs to no expert"),
        ("layer.mlp.other.up: {from: 'h.{layer}', unstack: true}", "unstack takes an expert's part, and this belongs"),
        (
            "layer.mlp.expert.up: {from: 'h.{layer}.{expert}', unstack: true}",
            "unstack takes an expert's part of one tensor, and the name has {expert}",
        ),
        (
            "layer.mlp.expert.up: {from: 'h.{layer}.w', transpose: true, unstack: true}",
            "unstack comes after another verb",
        ),
        ("layer.mlp.expert.up: {from: 'h.{layer}.w', unstack: 3}", "unstack: true is expected"),
    ],
)
def test_faults_of_the_table(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchspecError) as raised:
        table(tmp_path, line)
    assert message in str(raised.value)


def test_joined_tensors_are_each_read_in_part(tmp_path: Path) -> None:
    weights = table(
        tmp_path, "layer.mlp.expert.up: {from: ['a.{layer}', 'b.{layer}'], unstack: true, concat: {axis: 0}}"
    )
    found = weights.resolve({"layers.0.mlp.experts.2.up.weight": (4, 8)}, ["a.0.weight", "b.0.weight"])
    assert found.sources["layers.0.mlp.experts.2.up.weight"].steps == (Select(axis=0, index=(2,)), Concat(axis=0))
