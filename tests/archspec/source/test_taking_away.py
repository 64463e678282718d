"""A child spec removes inherited names and variants."""

from __future__ import annotations

import jsonschema
import pytest

from archc.archspec import SpecError, json_schema, load_spec, load_spec_text
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import parse_tree
from tests.archspec.samples import Write

PARENT = (
    "derive: {inner: 2 * hidden_size}\nmlp: {width: inner}\n"
    "variants: [{when: hidden_size == 64, mlp: {activation: gelu}}]\n"
)


def test_null_removes_a_derived_name_and_an_empty_list_the_variants(write: Write) -> None:
    write(PARENT, "parent")
    text = "derive: {inner: null}\nvariants: []\nmlp: {width: 7}\n"
    child = write(text, "child", "parent")
    jsonschema.Draft202012Validator(json_schema()).validate(to_python(parse_tree(child.read_text(), "child")))
    spec = load_spec(child)
    assert "inner" not in spec.names.derived
    layer = spec.bind().layers[0]
    assert (layer.mlp.width, layer.mlp.activation) == (7, "silu")
    assert load_spec_text(spec.text).bind(spec.bind().config).layers[0] == layer
    assert load_spec(write("{}", "other", "parent").with_name("parent.yaml")).bind().layers[0].mlp.activation == "gelu"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("derive: {innner: null}", r"derive.innner: null removes an inherited name.*did you mean 'inner'\?"),
        ("derive: {inner: null}", "unknown name 'inner'"),
    ],
    ids=["not inherited", "still read"],
)
def test_taking_away_what_is_not_there_or_is_read(write: Write, text: str, message: str) -> None:
    write(PARENT, "parent")
    with pytest.raises(SpecError, match=message):
        load_spec(write(text, "child", "parent"))


def test_an_empty_list_without_a_parent_is_refused(write: Write) -> None:
    with pytest.raises(SpecError, match="variants: expected a list"):
        load_spec(write("variants: []\n", "alone", None))
