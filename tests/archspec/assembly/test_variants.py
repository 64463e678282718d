from __future__ import annotations

import pytest

from archc.archspec import SpecError, load_spec, load_spec_text
from archc.archspec.vocabulary import Alibi, NoPosition, Rope
from tests.archspec.samples import LATENT, Load, Write

VARIANT = """
config:
  alibi: false
variants:
  - when: alibi
    position: {kind: alibi, scaled: true}
"""


def test_a_variant_applies_if_its_condition_holds(load: Load) -> None:
    spec = load(VARIANT)
    assert isinstance(spec.bind().layers[0].position, Rope)
    assert spec.bind({"alibi": True}).layers[0].position == Alibi(scaled=True)


def test_variants_of_a_child_follow_those_of_its_parent(write: Write) -> None:
    write(VARIANT, "parent")
    text = "variants:\n  - when: hidden_size == 64\n    position: {kind: alibi, scaled: false}\n"
    spec = load_spec(write(text, "child", extends="parent"))
    assert spec.bind({"alibi": True}).layers[0].position == Alibi(scaled=False)


def test_an_override_takes_precedence_over_a_variant(load: Load) -> None:
    bound = load(VARIANT, "position=none").bind({"alibi": True})
    assert bound.layers[0].position == NoPosition()
    assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers


@pytest.mark.parametrize("config", [{}, {"alibi": True}], ids=["without", "with"])
def test_an_override_may_fit_one_variant_alone(load: Load, config: dict[str, bool]) -> None:
    spec = load(VARIANT, "position.scaled=false")
    if not config:
        with pytest.raises(SpecError, match=r"--set position\.scaled: position\.scaled: unknown key 'scaled' in rope"):
            spec.bind(config)
        return
    bound = spec.bind(config)
    assert bound.layers[0].position == Alibi(scaled=False)
    assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers


def test_an_override_that_fits_no_variant(load: Load) -> None:
    with pytest.raises(SpecError, match=r"--set position\.scald: position\.scald: unknown key 'scald' in alibi"):
        load(VARIANT, "position.scald=false")


def test_a_condition_must_be_true_or_false(load: Load) -> None:
    with pytest.raises(SpecError, match=r"variants\[0\]\.when: alibi = 3 must be true or false"):
        load(VARIANT).bind({"alibi": 3})


def test_problems_of_a_variant_are_reported_without_a_config(load: Load) -> None:
    with pytest.raises(SpecError, match=r"spec\.yaml:8:29: position\.scald: unknown key"):
        load(VARIANT.replace("scaled", "scald"))


def test_kinds_of_attention_may_differ_by_layer(write: Write) -> None:
    spec = load_spec(write(f"variants:\n  - when: layer % 2 == 1\n    {LATENT}", "mixed"))
    assert [layer.attention.kind for layer in spec.bind().layers] == ["grouped-query", "latent"] * 2
