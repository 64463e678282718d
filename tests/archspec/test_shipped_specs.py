"""Every shipped spec loads, binds at each of its sizes, fits the JSON Schema, and is detected by its `match`."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from archc.archspec import (
    ConfigError,
    find_spec,
    json_schema,
    list_specs,
    load_spec,
    load_spec_text,
)
from archc.archspec.docs.json_schema import MODELINE
from archc.archspec.source.nodes import to_python
from archc.archspec.source.yaml_reader import parse_tree, read_tree
from tests.archspec.samples import DATA, matching_specs

SPECS = [spec.path for spec in list_specs()]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize(
    "path", [*SPECS, *sorted(DATA.glob("*.yaml"))], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_loads_and_binds_and_fits_the_schema(path: Path) -> None:
    spec = load_spec(path)
    assert spec.family == path.stem
    assert spec.description
    VALIDATOR.validate(to_python(read_tree(path)))
    VALIDATOR.validate(to_python(parse_tree(spec.text, "text")))
    for size in spec.sizes:
        bound = spec.bind(size=size)
        again = load_spec_text(bound.text).bind(bound.config)
        assert again.layers == bound.layers
        assert again.weights.entries.keys() == bound.weights.entries.keys()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_first_line_selects_the_schema_in_an_editor(path: Path) -> None:
    assert path.read_text("utf-8").startswith(f"{MODELINE}\nfamily: ")


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_is_found_by_name_and_detected_by_config(path: Path) -> None:
    spec = load_spec(path.stem)
    assert find_spec(path.stem) == path
    header = spec.raw.header
    for model_type in header.model_types:
        for architecture in header.architectures:
            assert path.stem in matching_specs({"model_type": model_type, "architectures": [architecture]})


ALLOWED = [(path.stem, name) for path in SPECS for name, entry in load_spec(path).names.config.items() if entry.allowed]


@pytest.mark.parametrize(("family", "name"), ALLOWED, ids=lambda part: part)
def test_a_value_that_is_not_allowed_is_refused(family: str, name: str) -> None:
    spec = load_spec(family)
    config = dict(next(iter(spec.sizes.values()), {}))
    spec.bind({**config, name: spec.names.config[name].allowed[-1]})
    with pytest.raises(ConfigError, match=f"{name}: 'other' is not supported by the spec; supported: "):
        spec.bind({**config, name: "other"})
