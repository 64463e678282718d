from __future__ import annotations

import pytest

from archc.archspec import ConfigError, SpecError, load_spec, load_spec_text
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
        with pytest.raises(SpecError, match=r"--set position\.scaled: unknown key 'scaled' in rope"):
            spec.bind(config)
        return
    bound = spec.bind(config)
    assert bound.layers[0].position == Alibi(scaled=False)
    assert load_spec_text(bound.text).bind(bound.config).layers == bound.layers


def test_an_override_that_fits_no_variant(load: Load) -> None:
    with pytest.raises(SpecError, match=r"--set position\.scald: unknown key 'scald' in alibi"):
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


PARTS = """
config:
  wide: false
  wide_latent: 16
variants:
  - when: layer % 2 == 1
    {base}
  - when: layer == 3 and wide
    attention: {{latent: {latent}}}
"""


def test_a_variant_may_change_a_part_of_an_earlier_one(load: Load) -> None:
    spec = load(PARTS.format(base=LATENT.strip(), latent="wide_latent"))
    assert [getattr(layer.attention, "latent", None) for layer in spec.bind({"wide": True}).layers] == [
        None,
        8,
        None,
        16,
    ]
    assert [getattr(layer.attention, "latent", None) for layer in spec.bind({}).layers] == [None, 8, None, 8]


def test_names_of_a_part_are_required(load: Load) -> None:
    text = PARTS.format(base=LATENT.strip(), latent="wide_latent").replace("wide_latent: 16", "wide_latent:")
    with pytest.raises(ConfigError, match="missing key 'wide_latent'"):
        load(text).bind({"wide": True, "num_hidden_layers": 4})


def test_a_part_requires_its_section_where_it_holds(load: Load) -> None:
    spec = load(PARTS.format(base=LATENT.strip(), latent="wide_latent").replace("layer == 3", "layer == 2"))
    assert len(spec.bind({}).layers) == 4
    with pytest.raises(SpecError, match=r"attention\.latent: unknown key 'latent' in grouped-query"):
        spec.bind({"wide": True})


@pytest.mark.parametrize(
    ("base", "latent", "expected"),
    [
        pytest.param(LATENT.strip(), "wide_latnt", "attention.latent: unknown name 'wide_latnt'", id="in the part"),
        pytest.param(LATENT.strip().replace("value_dim", "value_dm"), "16", "unknown key 'value_dm'", id="in the base"),
    ],
)
def test_a_fault_is_reported_without_those_that_follow_from_it(
    load: Load, base: str, latent: str, expected: str
) -> None:
    with pytest.raises(SpecError) as raised:
        load(PARTS.format(base=base, latent=latent))
    assert expected in str(raised.value)
    assert not any("unknown key 'latent'" in str(problem) for problem in raised.value.problems)


def test_the_number_of_variants_is_limited(load: Load) -> None:
    with pytest.raises(SpecError, match="more than 64 variants"):
        load("variants:\n" + "  - {when: layer == 0, position: none}\n" * 65)
