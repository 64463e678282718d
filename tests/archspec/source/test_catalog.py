from __future__ import annotations

from pathlib import Path

import pytest

from archc.archspec import (
    ConfigError,
    SpecError,
    detect_spec,
    find_spec,
    list_specs,
    load_spec,
    specs_dir,
)
from tests.archspec.samples import matching_specs


@pytest.mark.parametrize(
    ("model_type", "architecture", "specs"),
    [
        ("baichuan", "BaiChuanForCausalLM", ["baichuan"]),
        ("baichuan", "BaichuanForCausalLM", ["baichuan-13b", "baichuan2-13b", "baichuan2"]),
        ("chatglm", "ChatGLMModel", ["chatglm", "chatglm2", "chatglm3"]),
        ("chatglm", "ChatGLMForConditionalGeneration", ["chatglm", "chatglm2", "chatglm3"]),
    ],
    ids=["baichuan", "baichuan, ambiguous", "chatglm, ambiguous", "chatglm-conditional, ambiguous"],
)
def test_ambiguous_configs(model_type: str, architecture: str, specs: list[str]) -> None:
    assert matching_specs({"model_type": model_type, "architectures": [architecture]}) == specs


def test_missing_specs() -> None:
    with pytest.raises(SpecError, match="spec 'lama' not found; did you mean 'llama'"):
        find_spec("lama")
    with pytest.raises(SpecError, match=r"absent\.yaml: cannot read the file"):
        load_spec("absent.yaml")
    assert specs_dir().is_dir()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "c.json: model_type: missing key 'model_type'; pass the name of a spec"),
        ({"model_type": 3}, "expected the model type as text, got 3"),
        ({"model_type": "lama"}, "no spec matches model_type 'lama'; did you mean 'llama'?"),
        (
            {"model_type": "llama", "architectures": ["Other"]},
            "no spec for model_type 'llama' matches [\"Other\"]; supported: ",
        ),
    ],
    ids=["no model type", "model type not text", "unknown model type", "unknown architecture"],
)
def test_configs_without_a_spec(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        detect_spec(config, "c.json")
    assert message in str(raised.value)


@pytest.fixture
def with_invalid_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one valid spec and several invalid ones."""
    (tmp_path / "good.yaml").write_text("family: good\ndescription: Good\nmatch: {model_type: tiny}\n")
    (tmp_path / "a.yaml").write_text("family: [\n")
    (tmp_path / "b.yaml").write_text("- a\n")
    (tmp_path / "c.yaml").write_text("family: c\nmatch: {model_type: tiny, architectures: 5}\n")
    (tmp_path / "d.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "e.yaml").mkdir()
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    return tmp_path


def test_invalid_specs_do_not_hide_others(with_invalid_specs: Path) -> None:
    specs = {spec.name: spec for spec in list_specs()}
    assert [name for name, spec in specs.items() if not spec.problems] == ["good"]
    assert specs["good"].description == "Good"
    assert sorted(specs) == ["a", "b", "c", "d", "e", "good"]
    for name in "abcde":
        assert all(problem.file == str(with_invalid_specs / f"{name}.yaml") for problem in specs[name].problems)
    assert detect_spec({"model_type": "tiny", "architectures": ["Any"]}) == "good"


@pytest.mark.usefixtures("with_invalid_specs")
def test_problems_of_invalid_specs_are_reported_if_no_spec_matches() -> None:
    with pytest.raises(ConfigError) as raised:
        detect_spec({"model_type": "other"})
    first, *rest = raised.value.problems
    assert first.message == "no spec matches model_type 'other'"
    assert [Path(problem.file).name for problem in rest] == ["a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"]


def test_several_specs_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"family: {name}\nmatch: {{model_type: twin}}\n")
    monkeypatch.setattr("archc.archspec.source.catalog.specs_dir", lambda: tmp_path)
    with pytest.raises(ConfigError, match="model_type 'twin' matches several specs: one, two; pass the name of one"):
        detect_spec({"model_type": "twin"})
