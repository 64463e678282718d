from __future__ import annotations

import pytest

from archc.archspec import SpecError, load_spec
from archc.archspec.vocabulary import Alibi, PlainMlp, Rope
from archc.archspec.vocabulary.norm import PlacedLayerNorm, PlacedRmsNorm
from tests.archspec.samples import LATENT, Load, Write


def test_a_new_kind_drops_the_keys_that_it_lacks(load: Load) -> None:
    bound = load("position: {kind: alibi}\nlayer: {norm: {kind: layernorm}}\nmlp: {kind: plain}\n").bind()
    layer = bound.layers[0]
    assert layer.position == Alibi()
    assert layer.norm == PlacedLayerNorm(eps=1e-6)
    assert layer.mlp == PlainMlp(width=256, activation="silu")


def test_the_same_kind_keeps_all_keys(load: Load) -> None:
    position = load("position: {kind: rope, pairing: interleaved}\n").bind().layers[0].position
    assert position == Rope(theta=10000.0, pairing="interleaved")


def test_the_norm_of_the_base(load: Load) -> None:
    assert load("").bind().layers[0].norm == PlacedRmsNorm(eps=1e-6)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param("{}", 16, id="inherited"),
        pytest.param("{default: 7}", 7, id="new default"),
        pytest.param("7", 7, id="new default alone"),
        pytest.param("{default: 7, absent: 8}", 8, id="new default and absent"),
    ],
)
def test_a_new_default_replaces_an_inherited_absent(write: Write, entry: str, expected: int) -> None:
    write("config:\n  span: {default: none, absent: 16}\nattention: {window: span}\n", "one")
    child = load_spec(write(f"config:\n  span: {entry}\n", "two", extends="one"))
    assert child.bind({}).layers[0].attention.window == expected


def test_a_new_default_alone_keeps_inherited_keys(write: Write) -> None:
    write("config:\n  span: {default: 8, keys: [reach], allowed: [8, 9]}\nattention: {window: span}\n", "one")
    child = load_spec(write("config:\n  span: 9\n", "two", extends="one"))
    assert child.bind({}).layers[0].attention.window == 9
    assert child.bind({"reach": 8}).layers[0].attention.window == 8
    with pytest.raises(SpecError, match=r"two\.yaml:4:9: config\.span: 7 is not among the allowed values"):
        load_spec(write("config:\n  span: 7\n", "two", extends="one"))


def test_a_section_without_a_kind_has_its_default_kind(write: Write) -> None:
    explicit = load_spec(write("attention: {kind: grouped-query}\n", "two")).bind()
    assert explicit.layers == load_spec(write("", "one")).bind().layers
    latent = load_spec(write(LATENT, "three")).bind().layers[0].attention
    assert (latent.kind, latent.heads, latent.rotating_dim) == ("latent", 4, 4)
    wider = load_spec(write("attention: {latent: 9}\n", "four", extends="three.yaml")).bind().layers[0].attention
    assert (wider.kind, wider.latent, wider.nope_dim) == ("latent", 9, 4)
