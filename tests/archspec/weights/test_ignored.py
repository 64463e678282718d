"""Numbers of the config in the patterns of `weights.ignore`."""

from __future__ import annotations

import pytest

from archc.archspec import SpecError, load_spec
from tests.archspec.samples import Load


def test_layers_past_the_last_are_ignored() -> None:
    spec = load_spec("deepseek-v3")
    config = {**spec.sizes["moonlight-16b"], "num_hidden_layers": 3}
    assert spec.bind(config).weights.ignore[-1:] == ("model.layers.3.*",)
    bound = spec.bind({**config, "num_nextn_predict_layers": 2})
    assert bound.weights.ignore[-2:] == ("model.layers.3.*", "model.layers.4.*")
    assert "model.layers.3.*" not in spec.bind({**config, "num_nextn_predict_layers": 0}).weights.ignore


def test_one_number(load: Load) -> None:
    assert load("weights: {ignore: ['h.{2 * hidden_size}.x']}\n").bind().weights.ignore == ("h.128.x",)


def test_the_numbers_of_a_list(load: Load) -> None:
    spec = load("config: {removed: {default: '[1, 3]'}}\nweights: {ignore: ['h.{removed}.x']}\n")
    assert spec.bind().weights.ignore == ("h.1.x", "h.3.x")
    assert spec.bind({"removed": []}).weights.ignore == ()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("h.{hidden_sise}.x", "unknown name 'hidden_sise'"),
        ("h.{1}.{2}", "expected at most one"),
        ("h.{", "at most one"),
    ],
)
def test_wrong_patterns(load: Load, pattern: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load(f"weights: {{ignore: ['{pattern}']}}\n")


def test_one_wrong_key_in_a_spec_with_sizes_is_one_error(load: Load) -> None:
    text = "sizes:\n  a: {hidden_size: 32}\n  b: {vocab_size: 9, hidden_size: 64}\nattention: {haeds: 4}\n"
    with pytest.raises(SpecError) as raised:
        load(text)
    (problem,) = raised.value.problems
    assert problem.path == "attention.haeds"
