"""Added tokens of the files around tokenizer.json, compared with transformers."""

from __future__ import annotations

import json

import pytest
from transformers import PreTrainedTokenizerFast

from archc import runtime
from archc.runtime import PlanError
from tests.runtime.tiny import bytes_tokenizer

FIRST = 261  # the first id after those of tokenizer.json
TEXT = "a <tool>  b <x> c<tool>d"


def token(text="<tool>", **flags):
    names = ("lstrip", "rstrip", "single_word", "normalized", "special")
    return {"content": text} | dict.fromkeys(names, False) | flags


CONFIGS = {
    "added_tokens_decoder": {"added_tokens_decoder": {FIRST: token()}},
    "special": {"added_tokens_decoder": {FIRST: token(special=True)}},
    "spaces before": {"added_tokens_decoder": {FIRST: token(lstrip=True)}},
    "spaces after": {"added_tokens_decoder": {FIRST: token(rstrip=True, special=True)}},
    "a single word": {"added_tokens_decoder": {FIRST: token(single_word=True)}},
    "two out of order": {"added_tokens_decoder": {FIRST + 1: token("<x>"), FIRST: token(special=True)}},
    "other flags than tokenizer.json": {"added_tokens_decoder": {258: token("<|end|>", rstrip=True)}},
    "a token of the vocabulary": {"added_tokens_decoder": {256: token("he", special=True)}},
    "pad_token": {"pad_token": "<tool>"},
    "any other name": {"image_token": "<tool>"},
    "one name for a known token": {"bos_token": "<|end|>", "eos_token": "<|end|>"},
    "extra_special_tokens": {"extra_special_tokens": ["<tool>", "<x>"]},
    "extra_special_tokens by name": {"extra_special_tokens": {"tool_token": "<tool>"}},
    "additional_special_tokens": {"additional_special_tokens": ["<tool>"]},
    "null and numbers": {"sep_token": None, "model_max_length": 99, "add_bos_token": True},
}
FILES = {name: {"tokenizer_config.json": config} for name, config in CONFIGS.items()} | {
    "special_tokens_map.json": {
        "special_tokens_map.json": {"pad_token": "<tool>", "additional_special_tokens": ["<x>"]}
    },
    "added_tokens.json": {"added_tokens.json": {"<tool>": FIRST}},
    "added_tokens.json and a name": {
        "added_tokens.json": {"<tool>": FIRST, "<x>": FIRST + 1},
        "tokenizer_config.json": {"pad_token": "<tool>"},
    },
}


@pytest.fixture
def tokenizer_with(tiny, tmp_path):
    """Return a function from JSON files to the tokenizer of a plan with them."""

    def build(files):
        extra = {f"tokenizer/{name}": json.dumps(value).encode() for name, value in files.items()}
        extra["tokenizer/tokenizer.json"] = tiny.tokenizer_json
        return runtime.load(tiny.write(tmp_path / "engine.plan", with_tokenizer=False, extra=extra), 1).tokenizer

    return build


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_tokens_have_the_ids_and_flags_of_transformers(tokenizer_with, tmp_path, files):
    tokenizer = tokenizer_with(files)
    bytes_tokenizer().save(str(tmp_path / "tokenizer.json"))
    for name, value in {"tokenizer_config.json": {}, **files}.items():
        (tmp_path / name).write_text(json.dumps(value))
    expected = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for parse in (True, False):
        expected._tokenizer.encode_special_tokens = not parse
        ids = expected._tokenizer.encode(TEXT).ids
        assert tokenizer.encode(TEXT, parse_special=parse) == ids
        assert tokenizer.decode(ids) == expected.decode(ids, skip_special_tokens=True)
        assert tokenizer.decode(ids, skip_special_tokens=False) == expected.decode(ids, skip_special_tokens=False)
    special = {item.content for item in expected.added_tokens_decoder.values() if item.special}
    assert set(tokenizer.special_tokens_in("he <tool> <x> <|end|> <|im_end|>")) == special & {
        "he", "<tool>", "<x>", "<|end|>", "<|im_end|>"
    }  # fmt: skip


def test_an_object_with_flags_names_a_special_token(tokenizer_with):
    tokenizer = tokenizer_with({"special_tokens_map.json": {"pad_token": token(rstrip=True)}})
    assert tokenizer.encode("<tool>  b", parse_special=True) == [FIRST, *tokenizer.encode("b")]
    assert FIRST not in tokenizer.encode("<tool>")


def test_a_name_does_not_take_the_flags_of_a_known_token(tokenizer_with):
    tokenizer = tokenizer_with(
        {"tokenizer_config.json": {"added_tokens_decoder": {FIRST: token(rstrip=True)}, "eos_token": "<tool>"}}
    )
    assert tokenizer.encode("<tool>  b") == [FIRST, *tokenizer.encode("b")]
    tokenizer = tokenizer_with({"added_tokens.json": {"<|end|>": 258}})
    assert 258 not in tokenizer.encode("<|end|>")


INVALID = {
    "an id after a gap": (
        {"tokenizer_config.json": {"added_tokens_decoder": {300: token()}}},
        "id 300 of token '<tool>'",
    ),
    "an id of another token": ({"tokenizer_config.json": {"added_tokens_decoder": {7: token()}}}, "id 7 .* 261"),
    "an id of added_tokens.json": ({"added_tokens.json": {"<tool>": 12}}, r"added_tokens\.json: <tool>: id 12"),
    "two ids": (
        {"tokenizer_config.json": {"added_tokens_decoder": {FIRST: token()}}, "added_tokens.json": {"<tool>": 9}},
        "id 9 of token '<tool>' is not its id in the other files, 261",
    ),
    "one id for two": ({"added_tokens.json": {"<tool>": FIRST, "<x>": FIRST}}, "id 261 is also that of '<tool>'"),
    "an id that is a word": (
        {"tokenizer_config.json": {"added_tokens_decoder": {"x": token()}}},
        "expected an id .*'x'",
    ),
    "an id that is a fraction": ({"added_tokens.json": {"<tool>": 1.5}}, "expected an id .* 1.5"),
    "an id that is negative": ({"added_tokens.json": {"<tool>": -1}}, "expected an id .* -1"),
    "an id that is true": ({"added_tokens.json": {"<tool>": True}}, "expected an id .* True"),
    "a token without text": (
        {"tokenizer_config.json": {"added_tokens_decoder": {FIRST: {"special": True}}}},
        "`content`",
    ),
    "a token that is a number": ({"tokenizer_config.json": {"added_tokens_decoder": {FIRST: 5}}}, "`content`"),
}


@pytest.mark.parametrize(("files", "message"), INVALID.values(), ids=INVALID)
def test_conflicts_are_refused(tokenizer_with, files, message):
    with pytest.raises(PlanError, match=message):
        tokenizer_with(files)
