"""Checkpoint folders: where one is found, and the token ids and tokenizer files that a plan takes from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.folder import SpecialTokens, find_checkpoint, special_tokens


def write(folder: Path, **values: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(values), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("where", "message"),
    [
        pytest.param("file", "expected a folder with config.json and weights, or a .gguf file, got another", id="file"),
        pytest.param("a/b/c", "no such folder; give a checkpoint folder, or a hub id", id="no-folder"),
        pytest.param("../owner", "no such folder; give a checkpoint folder, or a hub id", id="upwards"),
    ],
)
def test_a_place_without_a_checkpoint(
    where: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=message):
        find_checkpoint(where)
    (tmp_path / "here").mkdir()
    assert find_checkpoint("here") == Path("here")


def test_generation_config_comes_before_config(tmp_path: Path) -> None:
    write(tmp_path, eos_token_id=[3, 4])
    config = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    assert special_tokens(tmp_path, config, 10) == SpecialTokens(bos=1, eos=(3, 4), pad=0)
    assert special_tokens(None, config, 10) == SpecialTokens(bos=1, eos=(2,), pad=0)


def test_ids_outside_the_token_table_are_no_tokens() -> None:
    config = {"bos_token_id": -1, "eos_token_id": [9, 10], "pad_token_id": 10}
    assert special_tokens(None, config, 10) == SpecialTokens(bos=None, eos=(9,), pad=None)


def test_an_encoder_decoder_has_a_decoder_prompt_and_banned_tokens() -> None:
    config = {"decoder_start_token_id": 5, "forced_bos_token_id": 7, "bad_words_ids": [[1], [2, 3], [4]]}
    found = special_tokens(None, config, 10, answers=True)
    assert (found.start, found.never) == ((5, 7), (1, 4))
    assert special_tokens(None, {"bos_token_id": 6, "forced_bos_token_id": 7}, 10, answers=True).start == (6, 7)
    assert special_tokens(None, {"forced_bos_token_id": 7}, 10, answers=True).start == ()
    decoder = special_tokens(None, config, 10)
    assert (decoder.start, decoder.never) == ((), ())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"eos_token_id": "2"}, "eos_token_id: expected a token id, got '2'", id="text"),
        pytest.param({"bos_token_id": True}, "bos_token_id: expected a token id, got True", id="boolean"),
        pytest.param({"bad_words_ids": [3]}, r"bad_words_ids: expected a list of lists .* got \[3\]", id="flat-list"),
        pytest.param({"bad_words_ids": [[1.5]]}, "bad_words_ids: expected a token id, got 1.5", id="fraction"),
    ],
)
def test_what_is_no_token_id(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=rf"generation_config\.json: {message}"):
        special_tokens(write(tmp_path, **values), {}, 10, answers=True)
