from __future__ import annotations

import pytest

from archc.archspec import (
    BoundWeights,
    Concat,
    Normalize,
    Select,
    SpecError,
    Split,
    Stack,
    TensorRef,
    Transpose,
    WeightsError,
)
from tests.archspec.samples import Load

MATRIX, VECTOR = (8, 8), (8,)


def bound(load: Load, tensors: str, rest: str = "", config: dict[str, object] | None = None) -> BoundWeights:
    """A table of these entries only: inherited ones are removed."""
    removed = "    embedding.tokens: null\n    layer.mixer_norm: null\n    layer.attention.{q,k,v,o}: null\n"
    lines = "".join(f"    {line}\n" for line in tensors.strip().splitlines())
    keys = {line.strip().partition(":")[0] for line in tensors.strip().splitlines()}
    removed = "".join(line for line in removed.splitlines(True) if line.strip().partition(":")[0] not in keys)
    return load(f"weights:\n{rest}  tensors:\n{removed}{lines}").bind(config).weights


def slots(*names: str) -> dict[str, tuple[int, ...]]:
    return {name: VECTOR if name.endswith("bias") else MATRIX for name in names}


def refused(weights: BoundWeights, slots: dict[str, tuple[int, ...]], present: list[str]) -> str:
    """The error of a checkpoint with these tensors."""
    with pytest.raises(WeightsError) as raised:
        weights.resolve(slots, present)
    return str(raised.value)


def test_the_longest_key_takes_precedence(load: Load) -> None:
    weights = bound(load, "layer.a: blocks.{layer}.a\nlayer.a.b.weight: special.{layer}\nhead: lm_head")
    found = weights.resolve(
        slots("layers.0.a.weight", "layers.11.a.b.bias", "layers.11.a.b.weight", "head.weight"),
        ["blocks.0.a.weight", "blocks.11.a.b.bias", "special.11", "lm_head.weight"],
    )
    assert found.sources == {
        "layers.0.a.weight": TensorRef(("blocks.0.a.weight",)),
        "layers.11.a.b.bias": TensorRef(("blocks.11.a.b.bias",)),
        "layers.11.a.b.weight": TensorRef(("special.11",)),
        "head.weight": TensorRef(("lm_head.weight",)),
    }


def test_alternatives_pair_in_order(load: Load) -> None:
    weights = bound(load, "layer.{a,b}.{x,y}: h.{layer}.{c,d}_{u,v}")
    names = ["layers.3.a.x.weight", "layers.3.a.y.weight", "layers.3.b.x.weight", "layers.3.b.y.weight"]
    checkpoint_names = ["h.3.c_u.weight", "h.3.c_v.weight", "h.3.d_u.weight", "h.3.d_v.weight"]
    found = weights.resolve(slots(*names), checkpoint_names)
    assert [found.sources[name].names for name in names] == [(name,) for name in checkpoint_names]


def test_one_entry_for_both_stacks(load: Load) -> None:
    weights = bound(load, "'{layer,encoder.layer}.a': '{decoder,encoder}.h.{layer}'")
    names = ["layers.3.a.weight", "encoder.layers.2.a.weight"]
    checkpoint_names = ["decoder.h.3.weight", "encoder.h.2.weight"]
    found = weights.resolve(slots(*names), checkpoint_names)
    assert [found.sources[name].names for name in names] == [(name,) for name in checkpoint_names]


def test_layers_that_share_a_weight_set(load: Load) -> None:
    weights = (
        load(
            "layer: {weights: layer // 2}\nweights:\n  tensors:\n    layer.mixer_norm: null\n"
            "    layer.attention.{q,k,v,o}: groups.{layer}.{q,k,v,o}\n"
        )
        .bind()
        .weights
    )
    found = weights.resolve(slots("layers.0.attention.q", "layers.2.attention.q"), ["groups.0.q", "groups.1.q"])
    assert [source.names for source in found.sources.values()] == [("groups.0.q",), ("groups.1.q",)]


def test_a_module_of_one_layer(load: Load) -> None:
    weights = bound(load, "layer.n: h.{layer}.n\nlayers.0.n: first")
    found = weights.resolve(slots("layers.0.n.weight", "layers.1.n.weight"), ["first.weight", "h.1.n.weight"])
    assert found.sources["layers.0.n.weight"].names == ("first.weight",)
    assert found.sources["layers.1.n.weight"].names == ("h.1.n.weight",)


def test_prefix_and_renamed_endings(load: Load) -> None:
    rest = (
        "  optional_prefix: [model., bert.]\n  rename: {gamma: weight, beta: bias}\n"
        "  ignore: ['*.inv_freq', position_ids]\n"
    )
    weights = bound(load, "norm: LayerNorm", rest)
    present = ["bert.LayerNorm.gamma", "bert.LayerNorm.beta", "bert.position_ids", "a.inv_freq"]
    found = weights.resolve(slots("norm.weight", "norm.bias"), present)
    assert found.sources["norm.weight"].names == ("bert.LayerNorm.gamma",)
    assert weights.resolve(slots("norm.weight"), ["LayerNorm.weight"]).sources["norm.weight"].names == (
        "LayerNorm.weight",
    )


SPLIT = (
    "layer.attention.{q,k,v}: {from: 'h.{layer}.qkv', transpose: true, "
    "split: {groups: num_key_value_heads, parts: [32, 16, 8 * (layer + 1)], axis: 1}}"
)


def test_order_and_sizes_of_verbs(load: Load) -> None:
    weights = bound(load, SPLIT)
    names = [f"layers.1.attention.{name}.{kind}" for kind in ("weight", "bias") for name in "qkv"]
    found = weights.resolve(slots(*names), ["h.1.qkv.weight", "h.1.qkv.bias"]).sources
    split = Split(parts=(32, 16, 16), groups=4, axis=1, take=1)
    assert found["layers.1.attention.k.weight"] == TensorRef(("h.1.qkv.weight",), (Transpose(), split))
    assert found["layers.1.attention.v.bias"] == TensorRef(
        ("h.1.qkv.bias",), (Split(parts=(32, 16, 16), groups=4, axis=0, take=2),)
    )


def test_a_part_that_fills_no_slot(load: Load) -> None:
    message = refused(
        bound(load, SPLIT), slots("layers.1.attention.q.weight", "layers.1.attention.k.weight"), ["h.1.qkv.weight"]
    )
    assert message == "checkpoint: part 2 of the tensor 'h.1.qkv.weight' fills no slot"


def test_one_part_by_number(load: Load) -> None:
    weights = bound(
        load,
        "'{a,b}': {from: x, split: {parts: [1, 2]}}\nc: {from: y, split: {parts: [1, 2], take: 1}}\n"
        "d: {from: y, split: {parts: [1, 2], take: 0}}",
    )
    found = weights.resolve(slots("a", "b", "c", "d"), ["x", "y"]).sources
    assert [step.take for name in "abcd" for step in found[name].steps if isinstance(step, Split)] == [0, 1, 1, 0]


def test_concat_requires_every_tensor(load: Load) -> None:
    weights = bound(load, "up: {from: [gate, value], concat: {axis: 1}}")
    assert weights.resolve(slots("up.weight"), ["gate.weight", "value.weight"]).sources["up.weight"] == TensorRef(
        ("gate.weight", "value.weight"), (Concat(axis=1),)
    )
    assert "'value.weight' not found in the checkpoint" in refused(weights, slots("up.weight"), ["gate.weight"])


STACK = (
    "layer.{up,down}.weight: {from: ['h.{layer}.{index}.{u,d}', 'x.{layer}.{index}.{u,d}'], transpose: true, "
    "stack: {count: 3}}"
)


def test_stack_requires_every_tensor(load: Load) -> None:
    weights, slot = bound(load, STACK), {"layers.1.down.weight": (3, 8, 8)}
    names = [f"x.1.{index}.d" for index in range(3)]
    found = weights.resolve(slot, names).sources["layers.1.down.weight"]
    assert found == TensorRef(tuple(names), (Transpose(), Stack(count=3)))
    assert "'x.1.1.d' not found in the checkpoint" in refused(weights, slot, [names[0], names[2]])
    assert "'h.1.0.d', 'h.1.1.d', 'h.1.2.d' not found in the checkpoint" in refused(weights, slot, [])
    assert refused(weights, slot, [*names, "x.1.3.d"]).startswith("checkpoint: unused tensor 'x.1.3.d'")


def test_a_stack_of_vectors(load: Load) -> None:
    found = bound(load, STACK).resolve({"layers.0.up.weight": (3, 8)}, [f"h.0.{index}.u" for index in range(3)])
    assert found.sources["layers.0.up.weight"].steps == (Stack(count=3),)


def test_select_and_normalize_do_not_apply_to_vectors(load: Load) -> None:
    line = "norm: {from: kernel, select: {axis: 2, index: [1, 0]}, normalize: {eps: 1e-12}}"
    found = bound(load, line).resolve(slots("norm.weight", "norm.bias"), ["kernel.weight", "kernel.bias"]).sources
    steps = (Select(axis=2, index=(1, 0)), Normalize(eps=1e-12))
    assert found == {"norm.weight": TensorRef(("kernel.weight",), steps), "norm.bias": TensorRef(("kernel.bias",))}


def test_alternative_names(load: Load) -> None:
    weights = bound(load, "norm: [ln_attn, input_norm]")
    assert weights.resolve(slots("norm"), ["input_norm"]).sources["norm"].names == ("input_norm",)
    assert "the slot has several sources: the checkpoint contains 'ln_attn', 'input_norm'; keep one" in refused(
        weights, slots("norm"), ["input_norm", "ln_attn"]
    )


def test_every_problem_is_reported(load: Load) -> None:
    weights = bound(load, "layer.a: h.{layer}.a\nnorm: [ln, norm]")
    message = refused(
        weights,
        slots("layers.0.a.weight", "layers.1.a.weight", "norm.weight", "layers.0.aa.weight"),
        ["h.0.a.weight", "h.1.aa.weight", "ln.weight", "norm.weight", "extra"],
    )
    for part in (
        "weights: layers.1.a.weight: the slot is not filled: 'h.1.a.weight' not found in the checkpoint; "
        "did you mean 'h.1.aa.weight'?",
        "weights: layers.0.aa.weight: the table has no entry for this slot; did you mean 'layer.a'?; "
        "add 'layer.aa.weight'",
        "weights: norm.weight: the slot has several sources",
        "checkpoint: unused tensor 'extra'",
        "checkpoint: unused tensor 'h.1.aa.weight'",
    ):
        assert part in message


def test_two_tensors_with_one_name(load: Load) -> None:
    weights = bound(load, "norm: norm", "  optional_prefix: model.\n")
    message = refused(weights, slots("norm.weight"), ["norm.weight", "model.norm.weight"])
    assert (
        "two tensors have the name 'norm.weight' after optional_prefix and rename: 'model.norm.weight', 'norm.weight'"
        in message
    )


def test_thousands_of_problems_are_counted(load: Load) -> None:
    message = refused(bound(load, "layer.a: h.{layer}.a"), slots(*(f"layers.{i}.a" for i in range(3000))), [])
    assert len(message.splitlines()) == 21
    assert "and 2980 more like the last one" in message


def test_duplicates_of_tied_tensors(load: Load) -> None:
    weights = bound(load, "embedding.tokens: embed\nhead: lm_head")
    ties = {"head.weight": "embedding.tokens.weight"}
    wanted = slots("embedding.tokens.weight")
    found = weights.resolve(wanted, ["embed.weight", "lm_head.weight"], ties)
    assert found.tied_duplicates == {"lm_head.weight": "embedding.tokens.weight"}
    assert weights.resolve(wanted, ["embed.weight"], ties).tied_duplicates == {}
    assert "unused tensor 'lm_head.weight'" in refused(weights, wanted, ["embed.weight", "lm_head.weight"])


def test_a_child_replaces_part_of_an_entry(load: Load) -> None:
    spec = load("weights:\n  tensors:\n    layer.attention.{k,o}: new.{layer}.{kk,oo}\n    layer.mixer_norm: null\n")
    names = [f"layers.2.attention.{name}" for name in "qkvo"]
    found = spec.bind().weights.resolve(
        slots("embedding.tokens", *names), ["embed", "layers.2.q", "new.2.kk", "layers.2.v", "new.2.oo"]
    )
    assert [found.sources[name].names[0] for name in names] == ["layers.2.q", "new.2.kk", "layers.2.v", "new.2.oo"]


def test_a_child_replaces_part_of_a_split(load: Load) -> None:
    weights = (
        load(
            "weights:\n  tensors:\n    embedding.tokens: null\n    layer.mixer_norm: null\n"
            "    layer.attention.{q,k,v}: {from: 'qkv.{layer}', split: {parts: [1, 1, 1]}}\n"
            "variants:\n  - when: true\n    weights: {tensors: {layer.attention.v: 'v.{layer}'}}\n"
        )
        .bind()
        .weights
    )
    names = [f"layers.0.attention.{name}" for name in "qkvo"]
    message = refused(weights, slots(*names), ["qkv.0", "v.0", "layers.0.o"])
    assert message == "checkpoint: part 2 of the tensor 'qkv.0' fills no slot"


def test_a_config_name_in_braces_stands_for_its_value(load: Load) -> None:
    weights = bound(load, "layer.{a,b}: h.{layer}.of_{hidden_size}.{c,d}")
    found = weights.resolve(slots("layers.3.b.weight"), ["h.3.of_64.d.weight"])
    assert found.sources == {"layers.3.b.weight": TensorRef(("h.3.of_64.d.weight",))}


def test_a_value_that_is_no_part_of_a_name(load: Load) -> None:
    spec = load("derive: {language: none}\nweights: {tensors: {a: 'x.{language}'}}\n")
    with pytest.raises(SpecError, match="language = null is no part of a name of a tensor; use text or an integer"):
        spec.bind()


def test_a_name_has_the_value_of_each_layer(load: Load) -> None:
    rest = "derive: {half: 'layer // 2', side: \"'left' if layer % 2 else 'right'\"}\n"
    removed = "    embedding.tokens: null\n    layer.mixer_norm: null\n    layer.attention.{q,k,v,o}: null\n"
    weights = load(f"{rest}weights:\n  tensors:\n{removed}    layer.a: h.{{half}}.{{side}}.{{layer}}\n").bind().weights
    found = weights.resolve(
        slots("layers.2.a.weight", "layers.3.a.weight"), ["h.1.right.2.weight", "h.1.left.3.weight"]
    )
    assert [source.names for source in found.sources.values()] == [("h.1.right.2.weight",), ("h.1.left.3.weight",)]


def test_a_name_with_a_value_for_each_layer_that_is_no_text(load: Load) -> None:
    rest = "derive: {half: 'layer / 2'}\nweights:\n  tensors:\n    layer.a: h.{half}\n"
    with pytest.raises(SpecError, match=r"half = 0\.0 is no part of a name of a tensor; use text or an integer"):
        load(rest).bind()
    with pytest.raises(SpecError, match=r"\{half\} in an entry that does not belong to a layer"):
        load(rest.replace("layer.a", "final_norm"))
