from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from archc.archspec import json_schema
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import read_tree
from tests.archspec.samples import DATA

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


FAULTS: tuple[dict[str, Any], ...] = (
    {"atention": {}},
    {"family": 3},
    {"position": {"kind": "ropes"}},
    {"attention": {"head": 3}},
    {"attention": {"heads": -1}},
    {"embedding": {"width": [64]}},
    {"weights": {"tensors": {"a": {"split": {"parts": [1, 2]}}}}},
    {"variants": [{"position": "none"}]},
    {"config": {"a": {"value": 1}}},
    {"fixed_config": {"a": [1]}},
)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_schema_rejects_a_fault(fault: dict[str, Any]) -> None:
    spec = to_python(read_tree(DATA / "llama.yaml"))
    assert VALIDATOR.is_valid(spec)
    assert not VALIDATOR.is_valid({**spec, **fault})


def test_an_editor_is_told_the_wrong_key_of_the_kind() -> None:
    spec = to_python(read_tree(DATA / "llama.yaml"))
    position = {"kind": "rope", "theta": 1e4, "scaled": True}
    error = jsonschema.exceptions.best_match(VALIDATOR.iter_errors({**spec, "position": position}))
    assert error is not None
    reasons = [each.message for each in error.context or [error]]
    assert any("'scaled' was unexpected" in reason for reason in reasons), reasons
    assert not any("alibi" in reason for reason in reasons), reasons


@pytest.mark.parametrize("entry", [None, 8, "a // 2", [1, 2], {"default": 8, "keys": ["b"]}], ids=str)
def test_the_schema_accepts_both_forms_of_a_config_name(entry: object) -> None:
    assert VALIDATOR.is_valid({"family": "x", "extends": "llama", "config": {"a": entry}})


def test_a_spec_without_a_parent_requires_all_sections() -> None:
    assert not VALIDATOR.is_valid({"family": "x"})
    assert VALIDATOR.is_valid({"family": "x", "extends": "llama", "attention": {"window": [8, "none"]}})
