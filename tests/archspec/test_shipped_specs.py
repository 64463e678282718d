"""Every shipped spec: loads, binds at each of its sizes, fits the schema, and is found by what it matches."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from archc.archspec import (
    ConfigError,
    SpecError,
    detect_spec,
    find_spec,
    json_schema,
    list_specs,
    load_spec,
    load_spec_text,
    specs_dir,
)
from archc.archspec.source.yaml_tree import parse_tree, read_tree, to_python

SPECS = [listed.path for listed in list_specs()]
DATA = sorted((Path(__file__).parent / "data").glob("*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("path", [*SPECS, *DATA], ids=lambda path: f"{path.parent.name}-{path.stem}")
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
def test_is_found_by_name_and_by_what_it_matches(path: Path) -> None:
    spec = load_spec(path.stem)
    assert find_spec(path.stem) == path
    header = spec.raw.header
    for model_type in header.model_types:
        for architecture in header.architectures:
            assert path.stem in fitting({"model_type": model_type, "architectures": [architecture]})


def fitting(config: dict[str, object]) -> list[str]:
    """The spec that is found for a config, or those that it may be for where it cannot tell."""
    try:
        return [detect_spec(config)]
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.hint == "name one of them"
        return problem.message.partition(": ")[2].split(", ")


@pytest.mark.parametrize(
    ("model_type", "architecture", "specs"),
    [
        ("baichuan", "BaiChuanForCausalLM", ["baichuan"]),
        ("baichuan", "BaichuanForCausalLM", ["baichuan-13b", "baichuan2-13b", "baichuan2"]),
        ("chatglm", "ChatGLMModel", ["chatglm", "chatglm2", "chatglm3"]),
        ("chatglm", "ChatGLMForConditionalGeneration", ["chatglm2", "chatglm3"]),
    ],
)
def test_checkpoints_that_cannot_tell_their_variant(model_type: str, architecture: str, specs: list[str]) -> None:
    assert fitting({"model_type": model_type, "architectures": [architecture]}) == specs


def test_the_schema_is_a_schema_and_points_at_faults() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    whole = to_python(read_tree(DATA[0]))
    for fault in (
        {"atention": {}},
        {"family": 3},
        {"position": {"kind": "ropes"}},
        {"attention": {"head": 3}},
        {"attention": {"heads": -1}},
        {"embedding": {"width": [64]}},
        {"weights": {"tensors": {"a": {"split": {"parts": [1, 2]}}}}},
        {"variants": [{"position": "none"}]},
    ):
        assert not VALIDATOR.is_valid({**whole, **fault}), fault
    assert not VALIDATOR.is_valid({"family": "x"})
    assert VALIDATOR.is_valid({"family": "x", "extends": "llama", "attention": {"window": [8, "none"]}})


def test_specs_that_are_not_there() -> None:
    with pytest.raises(SpecError, match="there is no spec 'lama'; did you mean 'llama'"):
        find_spec("lama")
    with pytest.raises(SpecError, match=r"absent\.yaml: cannot be read"):
        load_spec("absent.yaml")
    assert specs_dir().is_dir()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "c.json: model_type: the key 'model_type' is missing"),
        ({"model_type": 3}, "3 is not a model type"),
        ({"model_type": "lama"}, "no spec is for model_type 'lama'; did you mean 'llama'?"),
        ({"model_type": "llama", "architectures": ["Other"]}, '["Other"] is none of the architectures'),
    ],
)
def test_checkpoints_that_no_spec_fits(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        detect_spec(config, "c.json")
    assert message in str(raised.value)


@pytest.fixture
def with_faulty_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one sound spec and of files that are none."""
    (tmp_path / "good.yaml").write_text("family: good\ndescription: Good\nmatch: {model_type: tiny}\n")
    (tmp_path / "a.yaml").write_text("family: [\n")
    (tmp_path / "b.yaml").write_text("- a\n")
    (tmp_path / "c.yaml").write_text("family: c\nmatch: {model_type: tiny, architectures: 5}\n")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e.yaml").mkdir()
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    return tmp_path


def test_a_spec_at_fault_hides_no_other(with_faulty_specs: Path) -> None:
    found = {spec.name: spec for spec in list_specs()}
    assert [name for name, spec in found.items() if not spec.problems] == ["good"]
    assert found["good"].description == "Good"
    assert sorted(found) == ["a", "b", "c", "d", "e", "good"]
    for name in "abcde":
        assert all(problem.file == str(with_faulty_specs / f"{name}.yaml") for problem in found[name].problems)
    assert detect_spec({"model_type": "tiny", "architectures": ["Any"]}) == "good"


@pytest.mark.usefixtures("with_faulty_specs")
def test_where_no_spec_fits_the_faults_of_the_others_are_told() -> None:
    with pytest.raises(ConfigError) as raised:
        detect_spec({"model_type": "other"})
    first, *rest = raised.value.problems
    assert first.message == "no spec is for model_type 'other'"
    assert [Path(problem.file).name for problem in rest] == ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"]


def test_several_specs_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"family: {name}\nmatch: {{model_type: twin}}\n")
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    with pytest.raises(ConfigError, match="model_type 'twin' fits several specs: one, two; name one of them"):
        detect_spec({"model_type": "twin"})
