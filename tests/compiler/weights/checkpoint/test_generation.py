"""Special tokens and generation settings of a checkpoint's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.generation import special_tokens
from archc.plan import GenerationDefaults


def write(folder: Path, **values: Any) -> Path:
    (folder / "generation_config.json").write_text(json.dumps(values), "utf-8")
    return folder


def test_generation_config_comes_before_config(tmp_path: Path) -> None:
    write(tmp_path, eos_token_id=[3, 4])
    config = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    found = special_tokens(tmp_path, config, 10)
    assert (found.bos, found.eos, found.pad) == (1, (3, 4), 0)
    assert special_tokens(None, config, 10).eos == (2,)


def test_ids_outside_the_token_table_are_no_tokens() -> None:
    config = {"bos_token_id": -1, "eos_token_id": [9, 10], "pad_token_id": 10}
    found = special_tokens(None, config, 10)
    assert (found.bos, found.eos, found.pad) == (None, (9,), None)


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
        pytest.param({"early_stopping": "\ud800"}, "early_stopping: a lone surrogate is not text", id="surrogate"),
        pytest.param({"bad_words_ids": [[1.5]]}, "bad_words_ids: expected a token id, got 1.5", id="fraction"),
    ],
)
def test_invalid_token_ids(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=rf"generation_config\.json: {message}"):
        special_tokens(write(tmp_path, **values), {}, 10, answers=True)


def test_settings_are_those_of_generation_config_alone(tmp_path: Path) -> None:
    config = {"forced_bos_token_id": 7, "num_beams": 4, "bad_words_ids": [[1]], "decoder_start_token_id": 5}
    alone = special_tokens(None, config, 10, answers=True)
    assert alone.generation == GenerationDefaults(forced_bos_token_id=7, num_beams=4, bad_words_ids=((1,),))
    both = special_tokens(write(tmp_path, length_penalty=0.6), config, 10, answers=True)
    assert both.generation == GenerationDefaults(length_penalty=0.6)
    assert (both.start, both.never) == ((5,), ())


def test_older_files_force_the_token_that_begins_a_sequence() -> None:
    config = {"force_bos_token_to_be_generated": True, "bos_token_id": 3, "decoder_start_token_id": 5}
    assert special_tokens(None, config, 10, answers=True).start == (5, 3)


def test_settings_without_an_effect_are_left_out(tmp_path: Path) -> None:
    neutral = {"top_p": 1.0, "repetition_penalty": 1, "num_beams": 1, "early_stopping": False, "top_k": 0}
    ids = {"suppress_tokens": [10, -1], "forced_bos_token_id": None, "bad_words_ids": [[3, 12]]}
    found = special_tokens(write(tmp_path, **neutral, **ids, transformers_version="4.1"), {}, 10)
    assert found.generation == GenerationDefaults()
    assert found.warnings == ()


def test_a_setting_that_is_not_supported_is_a_warning(tmp_path: Path) -> None:
    values = {"penalty_alpha": 0.6, "num_beam_groups": 1, "warmth": 3, "guidance_scale": None, "use_cache": True}
    assert special_tokens(write(tmp_path, **values), {}, 10).warnings == (
        "generation_config.json: penalty_alpha is not supported and is ignored, got 0.6; generated tokens may differ",
        "generation_config.json: warmth is not supported and is ignored, got 3; generated tokens may differ",
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"top_p": 2}, r"top_p: Expected `float` <= 1.0, got 2; correct it", id="too-large"),
        pytest.param({"temperature": "hot"}, r"temperature: Expected `float.*`, got `str`", id="text"),
        pytest.param({"num_beams": 2.5}, r"num_beams: Expected `int.*`, got `float`", id="fraction"),
        pytest.param({"early_stopping": "now"}, r"early_stopping: .* got 'now'", id="word"),
    ],
)
def test_invalid_settings(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=rf"generation_config\.json: {message}"):
        special_tokens(write(tmp_path, **values), {}, 10)
    found = special_tokens(None, values, 10)
    assert found.generation == GenerationDefaults()
    assert found.warnings[0].startswith(f"config.json: {next(iter(values))}: ")
