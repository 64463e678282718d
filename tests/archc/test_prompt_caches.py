"""`archc run --save-cache` and `--load-cache`: the answers are those without a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archc.conftest import Archc, _built, sets

RWKV = ["hidden_size=64", "attention_hidden_size=64", "intermediate_size=96", "vocab_size=60", "num_hidden_layers=2"]
WINDOW = [
    *["hidden_size=32", "num_attention_heads=2", "num_key_value_heads=1", "intermediate_size=48", "vocab_size=60"],
    *["num_hidden_layers=2", "sliding_window=8", "max_position_embeddings=700"],
]
BUILDS: dict[str, tuple[object, ...]] = {
    "state-of-fixed-size": ("rwkv4", *sets(RWKV)),
    "sliding-window": ("mistral", *sets(WINDOW)),
}
LENGTHS = {"state-of-fixed-size": 12, "sliding-window": 600}


@pytest.fixture(scope="session", params=BUILDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    family, *options = BUILDS[request.param]
    folder = tmp_path_factory.mktemp("cached")
    plan = _built(folder, family, "--random", 0, *options)
    return request.param, plan


def ids(count: int) -> str:
    return ",".join(str(3 + 7 * n % 50) for n in range(count))


def test_answers_are_those_without(archc: Archc, case: tuple[str, Path], tmp_path: Path) -> None:
    name, plan = case
    length, file = LENGTHS[name], tmp_path / "prompt.cache"
    options = ("--max-new-tokens", 8, "--ignore-eos", "--json")
    prompt, longer = ids(length), ids(length + 5)
    alone = [archc("run", plan, "--ids", text, *options).json["output_ids"] for text in (prompt, longer)]
    saved = archc("run", plan, "--ids", prompt, *options, "--save-cache", file)
    assert saved.json["output_ids"] == alone[0]
    loaded = [archc("run", plan, "--ids", text, *options, "--load-cache", file) for text in (prompt, longer)]
    assert [result.json["output_ids"] for result in loaded] == alone
    assert [result.json["cached_tokens"] for result in loaded] == [length - 1, length - 1]


def test_text_with_a_cache(archc: Archc, qwen: Path, small: Path, tmp_path: Path) -> None:
    text, file = "Once upon a time, there was a little fox", tmp_path / "prompt.cache"
    alone = archc("run", qwen, text + " named Tom", "--max-new-tokens", 8).out
    assert archc("run", qwen, text, "--max-new-tokens", 1, "--save-cache", file).code == 0
    loaded = archc("run", qwen, text + " named Tom", "--max-new-tokens", 8, "--load-cache", file)
    assert (loaded.code, loaded.out, loaded.err) == (0, alone, "")
    other = archc("run", qwen, "37+85=", "--max-new-tokens", 8, "--load-cache", file)
    assert other.out == archc("run", qwen, "37+85=", "--max-new-tokens", 8).out
    assert "the prompt begins with 0 of the" in other.err
    assert "the cache of another plan" in archc("run", small, "--ids", 1, "--load-cache", file).errors[0]


def test_prompts_and_plans_without_a_state(archc: Archc, small: Path, bert: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.cache"
    assert "expected at least 2 tokens" in archc("run", small, "--ids", 1, "--save-cache", file).errors[0]
    assert "an encoder has no state" in archc("run", bert, "--ids", 1, "--save-cache", file).errors[0]
    assert "no such file" in archc("run", small, "--ids", 1, "--load-cache", file).errors[0]
    beams = archc("run", small, "--ids", 1, "--save-cache", file, "--num-beams", 2)
    assert "--num-beams is not supported with a cache" in beams.errors[0]
    assert not file.exists()
