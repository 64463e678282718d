"""`extends`, merging and `--set`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archc.archspec import Spec, SpecError, load_spec, load_spec_text
from archc.archspec.vocabulary import Alibi, GatedMlp, LayerNorm, NoPosition, PlainMlp, Rope
from archc.archspec.vocabulary.norm import PlacedLayerNorm, PlacedRmsNorm

Load = Callable[..., Spec]
Write = Callable[..., Path]


def test_a_child_keeps_what_it_does_not_change(load: Load) -> None:
    bound = load("attention: {window: 8}\n").bind()
    assert bound.layers[0].attention.window == 8
    assert bound.layers[0].attention.heads == 4
    assert bound.family == "spec"


def test_a_new_kind_drops_the_keys_that_it_does_not_have(load: Load) -> None:
    bound = load("position: {kind: alibi}\nlayer: {norm: {kind: layernorm}}\nmlp: {kind: plain}\n").bind()
    layer = bound.layers[0]
    assert layer.position == Alibi()
    assert layer.norm == PlacedLayerNorm(eps=1e-6)
    assert layer.mlp == PlainMlp(width=256, activation="silu")


def test_the_same_kind_written_again_changes_nothing(load: Load) -> None:
    assert load("position: {kind: rope, pairing: interleaved}\n").bind().layers[0].position == Rope(
        theta=10000.0, pairing="interleaved"
    )


def test_header_and_sizes_are_not_inherited(write: Write) -> None:
    parent = "description: the parent\nmatch: {model_type: parent}\nsizes: {small: {hidden_size: 32}}\n"
    write(parent, "parent")
    spec = load_spec(write("", "child", extends="parent"))
    assert (spec.family, spec.description, dict(spec.sizes)) == ("child", "", {})
    assert spec.raw.header.model_types == ()


def test_a_chain_of_parents(write: Write) -> None:
    write("attention: {window: 8}\n", "one")
    write("attention: {scale: 0.5}\n", "two", extends="one")
    attention = load_spec(write("attention: {window: 9}\n", "three", extends="two.yaml")).bind().layers[0].attention
    assert (attention.window, attention.scale) == (9, 0.5)


@pytest.mark.parametrize(("own", "without"), [("", 16), ("default: 7", 7), ("default: 7, absent: 8", 8)])
def test_a_new_default_stands_for_an_absent_key_too(write: Write, own: str, without: int) -> None:
    write("config:\n  span: {default: none, absent: 16}\nattention: {window: span}\n", "one")
    child = load_spec(write(f"config:\n  span: {{{own}}}\n", "two", extends="one"))
    assert child.bind({}).layers[0].attention.window == without


def test_circles_of_parents(write: Write) -> None:
    write("", "one", extends="two")
    with pytest.raises(SpecError, match="extend each other in a circle: two → one → two"):
        load_spec(write("", "two", extends="one"))


def test_long_chains_of_parents(write: Write) -> None:
    for index in range(12):
        path = write("", f"s{index}", extends=f"s{index - 1}" if index else "base")
    with pytest.raises(SpecError, match="a chain of more than 8 specs"):
        load_spec(path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../base", "sub/../../base", "..\\base", "a\\b"])
def test_parents_that_leave_the_folder(write: Write, name: str) -> None:
    with pytest.raises(SpecError, match="leaves the folder"):
        load_spec(write("", extends=name))


def test_a_link_that_leaves_the_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = write("", extends="base")
    inner = path.rename(tmp_path / "inside" / "spec.yaml")
    (tmp_path / "inside" / "base.yaml").symlink_to(tmp_path / "base.yaml")
    with pytest.raises(SpecError, match="leaves the folder of the spec; by a link"):
        load_spec(inner)


def test_a_spec_may_extend_the_shipped_one_of_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "llama.yaml"
    path.write_text("family: llama\nextends: llama\nattention: {window: 8}\n")
    assert load_spec(path).bind(size=None, config=TINY).layers[0].attention.window == 8


def test_faults_of_a_parent_name_the_parent(write: Write) -> None:
    write("attention: {windw: 8}\n", "parent")
    with pytest.raises(SpecError, match=r"parent\.yaml:3:13: attention\.windw: unknown key"):
        load_spec(write("", "child", extends="parent"))


def test_an_inherited_name_may_lose_its_reader(load: Load) -> None:
    spec = load("attention: {heads: 2, head_dim: 32, kv_heads: 2}\n")
    assert "num_attention_heads" not in spec.read
    assert not spec.reads_config("num_attention_heads")


TINY = {
    "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("override", "check"),
    [
        ("layer.norm.placement=post", lambda b: b.layers[0].norm.placement == "post"),
        ("layer.norm.kind=layernorm", lambda b: b.layers[0].norm == PlacedLayerNorm(eps=1e-6)),
        ("layer.norm={kind: layernorm, eps: 1e-3}", lambda b: b.layers[0].norm == PlacedLayerNorm(eps=1e-3)),
        ("position=alibi", lambda b: b.layers[0].position == Alibi()),
        ("position=", lambda b: b.layers[0].position == NoPosition()),
        ("position.theta=5e5", lambda b: b.layers[0].position.theta == 500000.0),
        ("final_norm.kind=layernorm", lambda b: b.final_norm == LayerNorm(eps=1e-6)),
        ("mlp.width=3 * hidden_size", lambda b: b.layers[0].mlp == GatedMlp(width=192, activation="silu")),
        ("attention.window=[8, none]", lambda b: [layer.attention.window for layer in b.layers] == [8, None, 8, None]),
        ("attention.bias=true", lambda b: b.layers[0].attention.bias.qkv and b.layers[0].attention.bias.out),
        ("hidden_size=128", lambda b: b.embedding.width == 128 and b.layers[0].attention.head_dim == 32),
        ("context=64", lambda b: b.context == 64),
    ],
)
def test_overrides(load: Load, override: str, check: Callable[..., bool]) -> None:
    bound = load("", override).bind()
    assert check(bound)
    assert bound.overrides == (override,)
    again = load_spec_text(bound.text).bind(bound.config)
    assert (again.layers, again.embedding, again.context) == (bound.layers, bound.embedding, bound.context)


def test_later_overrides_win(load: Load) -> None:
    assert load("", "mlp.width=8", "mlp.width=16").bind().layers[0].mlp.width == 16


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("layer.norm.palcement=post", "--set layer.norm.palcement: layer.norm.palcement: unknown key 'palcement'"),
        ("layer.norm.placement=pots", "--set layer.norm.placement: layer.norm.placement: 'pots' is not one of"),
        ("atention.heads=3", "--set atention.heads: there is no 'atention.heads' to set; did you mean 'attention'?"),
        ("hiden_size=3", "did you mean 'hidden_size'?"),
        ("weights.ignore=[a]", "there is no 'weights.ignore' to set"),
        ("attention.heads", "is not path=value"),
        ("=3", "is not path=value"),
        ("attention..heads=3", "is not path=value"),
        ("attention.heads=[", "--set attention.heads: "),
        ("attention.heads.x=3", "a mapping where an integer is expected"),
    ],
)
def test_overrides_that_are_refused(load: Load, override: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        load("", override)
    assert message in str(raised.value)


VARIANT = """
config:
  alibi: {default: false}
variants:
  - when: alibi
    position: {kind: alibi, scaled: true}
"""


def test_variants_apply_where_they_hold(load: Load) -> None:
    spec = load(VARIANT)
    assert isinstance(spec.bind().layers[0].position, Rope)
    assert spec.bind({"alibi": True}).layers[0].position == Alibi(scaled=True)


def test_a_childs_variants_come_after_its_parents(write: Write) -> None:
    write(VARIANT, "parent")
    text = "variants:\n  - when: hidden_size == 64\n    position: {kind: alibi, scaled: false}\n"
    spec = load_spec(write(text, "child", extends="parent"))
    assert spec.bind({"alibi": True}).layers[0].position == Alibi(scaled=False)


def test_an_override_wins_over_a_variant(load: Load) -> None:
    bound = load(VARIANT, "position=none").bind({"alibi": True})
    assert bound.layers[0].position == NoPosition()
    assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers


def test_a_condition_must_be_true_or_false(load: Load) -> None:
    with pytest.raises(SpecError, match=r"variants\[0\]\.when: alibi = 3 must be true or false"):
        load(VARIANT).bind({"alibi": 3})


def test_a_variants_own_faults_are_found_without_a_config(load: Load) -> None:
    with pytest.raises(SpecError, match=r"spec\.yaml:8:29: position\.scald: unknown key"):
        load(VARIANT.replace("scaled", "scald"))


def test_sizes_bind_and_unknown_ones_are_named(load: Load) -> None:
    spec = load("sizes:\n  small: {hidden_size: 32, rope_scaling: {type: linear, factor: 2.0}}\n")
    assert spec.bind(size="small").embedding.width == 32
    with pytest.raises(Exception, match="there is no size 'smal'; did you mean 'small'"):
        spec.bind(size="smal")
    with pytest.raises(Exception, match="one is enough"):
        spec.bind({}, size="small")


def test_the_norm_of_the_base(load: Load) -> None:
    assert load("").bind().layers[0].norm == PlacedRmsNorm(eps=1e-6)


LATENT = "attention: {kind: latent, latent: 8, nope_dim: 4, rope_dim: 4, value_dim: 4, norm: none}\n"


def test_a_section_without_a_kind_has_its_default_kind(write: Write) -> None:
    two = load_spec(write("attention: {kind: grouped-query}\n", "two")).bind()
    assert two.layers == load_spec(write("", "one")).bind().layers
    latent = load_spec(write(LATENT, "three")).bind().layers[0].attention
    assert (latent.kind, latent.heads, latent.rotating_dim) == ("latent", 4, 4)
    wider = load_spec(write("attention: {latent: 9}\n", "four", extends="three.yaml")).bind().layers[0].attention
    assert (wider.kind, wider.latent, wider.nope_dim) == ("latent", 9, 4)


def test_kinds_of_attention_may_differ_by_layer(write: Write) -> None:
    spec = load_spec(write(f"variants:\n  - when: layer % 2 == 1\n    {LATENT}", "mixed"))
    assert [layer.attention.kind for layer in spec.bind().layers] == ["grouped-query", "latent"] * 2
