"""Encoder-decoders: defaults from the decoder, and combinations that are rejected."""

from __future__ import annotations

import pytest

from archc.archspec import BoundSpec, SpecError, load_spec_text
from archc.archspec.vocabulary import CrossAttention, LayerNorm, NoPosition, RelativeBuckets, Rope

SPEC = """
family: both
topology: encoder-decoder
context: 64
embedding: {vocab: 50, width: 24}
position: {kind: relative-buckets, buckets: 8, max_distance: 20}
layer: {count: 4, norm: {kind: rmsnorm, eps: 1e-6, placement: pre}}
attention: {heads: 4, kv_heads: 2, head_dim: 6, bias: {qkv: true}, window: 9, softcap: 30.0}
mlp: {kind: plain, width: 40, activation: relu}
final_norm: {kind: rmsnorm, eps: 1e-6}
head: {kind: lm, tie: true}
"""


def bound(more: str = "", *overrides: str) -> BoundSpec:
    return load_spec_text(SPEC + more, "both.yaml", overrides).bind()


def faults(more: str = "", *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        bound(more, *overrides)
    return [f"{problem.path}: {problem.message}" for problem in raised.value.problems]


def test_an_encoder_is_the_decoder_without_cross_attention() -> None:
    spec = bound()
    assert spec.encoder is not None
    assert (spec.topology, spec.encoder.topology, spec.ties_encoder) == ("encoder-decoder", "encoder", True)
    assert [layer.model_copy(update={"cross_attention": None}) for layer in spec.layers] == list(spec.encoder.layers)
    assert spec.encoder.head.kind == "none"


def test_cross_attention_inherits_the_keys_of_attention() -> None:
    cross = bound().layers[0].cross_attention
    assert cross == CrossAttention(heads=4, kv_heads=2, head_dim=6, bias=bound().layers[0].attention.bias, softcap=30.0)
    changed = bound("cross_attention: {kv_heads: 4, softcap: none, scale: 1.0}\n").layers[0]
    assert changed.cross_attention is not None
    assert (changed.cross_attention.heads, changed.cross_attention.kv_heads) == (4, 4)
    assert (changed.cross_attention.softcap, changed.cross_attention.scale) == (None, 1.0)
    assert changed.attention.kv_heads == 2


def test_keys_of_the_encoder_replace_those_of_the_decoder_at_any_depth() -> None:
    spec = bound("encoder: {context: 90, layer: {count: 2, norm: {eps: 1e-3}}, attention: {window: none}}\n")
    assert spec.encoder is not None
    first = spec.encoder.layers[0]
    assert (spec.encoder.context, len(spec.encoder.layers), len(spec.layers)) == (90, 2, 4)
    assert (first.norm.eps, first.norm.placement, first.attention.window, first.attention.softcap) == (
        1e-3,
        "pre",
        None,
        30.0,
    )
    assert (spec.layers[0].norm.eps, spec.layers[0].attention.window) == (1e-6, 9)


def test_another_kind_drops_the_keys_of_the_decoder() -> None:
    more = "encoder: {position: {kind: rope, theta: 100.0}, final_norm: {kind: layernorm, eps: 1e-5}}\n"
    spec = bound(more)
    assert spec.encoder is not None
    assert spec.encoder.layers[0].position == Rope(theta=100.0)
    assert spec.encoder.final_norm == LayerNorm(eps=1e-5)
    assert isinstance(spec.layers[0].position, RelativeBuckets)


def test_values_differ_by_layer_in_both_stacks() -> None:
    spec = bound(
        "", "mlp.width=8 * (layer + 1) + layers", "encoder.layer.count=2", "encoder.attention.window=[3, none]"
    )
    assert spec.encoder is not None
    assert [layer.mlp.width for layer in spec.layers] == [12, 20, 28, 36]
    assert [layer.mlp.width for layer in spec.encoder.layers] == [10, 18]
    assert [layer.attention.window for layer in spec.encoder.layers] == [3, None]


def test_per_layer_variants_of_one_or_both_stacks() -> None:
    more = """
variants:
  - when: layer % 2 == 1
    mlp: {width: 48}
    encoder: {position: none}
  - when: layer == 3
    cross_attention: {softcap: 5.0}
"""
    spec = bound(more)
    assert spec.encoder is not None
    assert [layer.mlp.width for layer in spec.layers] == [layer.mlp.width for layer in spec.encoder.layers]
    assert [isinstance(layer.position, NoPosition) for layer in spec.encoder.layers] == [False, True, False, True]
    assert not any(isinstance(layer.position, NoPosition) for layer in spec.layers)
    softcaps = [layer.cross_attention.softcap for layer in spec.layers if layer.cross_attention is not None]
    assert softcaps == [30.0, 30.0, 30.0, 5.0]


def test_the_text_of_a_bound_spec_binds_to_the_same() -> None:
    spec = bound("encoder: {layer: {count: 2}}\ncross_attention: {softcap: none}\n", "encoder.mlp.width=16")
    again = load_spec_text(spec.text, "again.yaml").bind()
    assert (again.layers, again.final_norm) == (spec.layers, spec.final_norm)
    assert again.encoder is not None
    assert spec.encoder is not None
    assert again.encoder.layers == spec.encoder.layers


def test_weights_of_both_stacks_may_differ_by_layer() -> None:
    table = """
weights:
  tensors:
    layer.attention.{q,k}: {from: "d.{layer}.qk", split: {parts: [24 + layer, 12]}}
    encoder.layer.attention.{q,k}: {from: "e.{layer}.qk", split: {parts: [10 + layers, 12]}}
"""
    weights = bound(table, "encoder.layer.count=2").weights
    parts = {key: [step[0].parts[0] for step in entry.steps] for key, entry in weights.entries.items()}  # type: ignore[union-attr]
    assert parts["layer.attention.q"] == [24, 25, 26, 27]
    assert parts["encoder.layer.attention.q"] == [12, 12]
    slots = {"encoder.layers.1.attention.q.weight": (12, 24), "layers.0.attention.q.weight": (24, 24)}
    slots |= {name.replace(".q.", ".k."): (12, 24) for name in slots}
    sources = weights.resolve(slots, ["d.0.qk.weight", "e.1.qk.weight"]).sources
    assert sources["encoder.layers.1.attention.q.weight"].names == ("e.1.qk.weight",)
    assert sources["layers.0.attention.q.weight"].names == ("d.0.qk.weight",)


FAULTS: dict[str, tuple[str, list[str], str]] = {
    "encoder of a decoder": (
        "encoder: {}\n",
        ["topology=decoder"],
        "encoder: the section requires an encoder-decoder, and the topology is decoder",
    ),
    "cross-attention of an encoder": (
        "cross_attention: {}\n",
        ["topology=encoder"],
        "cross_attention: the section requires an encoder-decoder, and the topology is encoder",
    ),
    "no encoder": ("encoder: none\n", [], "encoder: an encoder-decoder requires an encoder"),
    "no cross-attention": (
        "cross_attention: none\n",
        [],
        "cross_attention: decoder layers without cross-attention are not supported",
    ),
    "heads of the cross-attention": (
        "cross_attention: {kv_heads: 3}\n",
        [],
        "cross_attention.kv_heads: 4 heads are not a multiple of 3 kv_heads",
    ),
    "heads of the encoder": (
        "encoder: {attention: {heads: 5}}\n",
        [],
        "encoder.attention.kv_heads: 5 heads are not a multiple of 2 kv_heads",
    ),
    "vocabularies": (
        "encoder: {embedding: {vocab: 60}}\n",
        [],
        "encoder.embedding.vocab: expected 50 as in the decoder, whose token table is shared, got 60",
    ),
    "odd buckets in the encoder": (
        "encoder: {position: {buckets: 7}}\n",
        [],
        "encoder.position.buckets: 7 buckets for the two sides of an encoder",
    ),
    "odd buckets in both": (
        "",
        ["position.buckets=7"],
        "encoder.position.buckets: 7 buckets for the two sides of an encoder",
    ),
    "short distance": (
        "",
        ["position.max_distance=4"],
        "position.max_distance: max_distance 4 for 4 distances with a bucket each",
    ),
    "parallel residual": (
        "",
        ["layer.residual=parallel"],
        "layer.residual: a parallel residual is not supported with cross-attention",
    ),
    "prefix": (
        "prefix: {end: 3, blanks: [1]}\n",
        [],
        "prefix: the attention of an encoder is bidirectional already",
    ),
    "no head": ("", ["head={kind: none}"], "head: a decoder requires a head"),
    "pooler": ("pooler: first-token\n", [], "pooler: a pooler is not supported in a decoder"),
    "shared table": (
        "",
        ["position.buckets=[8, 4]"],
        "position.table: layers with different buckets or heads cannot share a table",
    ),
    "sinusoidal positions in some layers": (
        "",
        ["position=[sinusoidal, none]"],
        "position: sinusoidal positions are added to the embedding and cannot differ by layer",
    ),
    "odd width": (
        "encoder: {tie: false, embedding: {width: 25}}\n",
        ["position=sinusoidal"],
        "encoder.embedding.width: sinusoidal positions are pairs of a sine and a cosine, but the width is 25",
    ),
    "one frequency in a closed series": (
        "encoder: {tie: false, embedding: {width: 2}}\n",
        ["position={kind: sinusoidal, spacing: closed}"],
        "encoder.embedding.width: a closed series has at least two frequencies, but the width is 2",
    ),
}


@pytest.mark.parametrize(("more", "overrides", "fault"), FAULTS.values(), ids=FAULTS)
def test_invalid_combinations(more: str, overrides: list[str], fault: str) -> None:
    lines = faults(more, *overrides)
    assert any(line.startswith(fault) for line in lines), lines


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("attention.heads=nobody", "attention.heads"),
        ("attention.heads=-1", "attention.heads"),
        ("mlp.width=7 / 2", "mlp.width"),
        ("attention.color=3", "attention.color"),
    ],
)
def test_a_problem_that_the_encoder_inherits_is_reported_once(override: str, path: str) -> None:
    (line,) = faults("", override)
    assert line.startswith(f"{path}: ")


def test_a_missing_section_is_reported_once() -> None:
    with pytest.raises(SpecError) as raised:
        load_spec_text(SPEC.replace("mlp: {kind: plain, width: 40, activation: relu}\n", ""), "both.yaml").bind()
    assert [problem.message.partition(" (")[0] for problem in raised.value.problems] == ["missing key 'mlp'"]


def test_a_per_layer_variant_changes_per_layer_sections_only() -> None:
    (line,) = faults("variants:\n  - when: layer == 1\n    encoder: {layer: {count: 3}}\n")
    assert "'encoder.layer.count' cannot differ by layer" in line


def test_a_layer_index_requires_a_per_layer_key() -> None:
    (line,) = faults('weights: {tensors: {encoder.final_norm: "e.{layer}.norm"}}\n')
    assert "{layer} in an entry that does not belong to a layer" in line
