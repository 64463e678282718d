"""Tokenizer files of a plan: which file of a folder counts, special tokens, tokens around a prompt, and warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers

import archc.compiler.text.files as limits
from archc.compiler.errors import BuildError
from archc.compiler.text.convert import convert, convert_files
from archc.compiler.text.settings import TextSettings
from tests.compiler.text.test_ranks import PATTERNS, ranks_file, tekken
from tests.compiler.text.test_sentencepiece import trained

_PLAIN = TextSettings()
_RANKS = TextSettings(pattern=PATTERNS["gpt2"])


def write(folder: Path, **files: bytes | str | dict[str, Any]) -> Path:
    """Write files by name, `__` for a dot; a dictionary as JSON."""
    folder.mkdir(exist_ok=True)
    for name, value in files.items():
        data = json.dumps(value) if isinstance(value, dict) else value
        (folder / name.replace("__", ".")).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def converted(folder: Path, settings: TextSettings = _PLAIN) -> tokenizers.Tokenizer:
    """Return the tokenizer of a folder, which gives no warning."""
    warnings: list[str] = []
    files = convert(folder, settings, warnings.append)
    assert not warnings
    return tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])


def tokens(tokenizer: tokenizers.Tokenizer, text: str) -> Sequence[str]:
    return tokenizer.encode(text).tokens


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, ["<s>", "\u2581a"], id="convention"),
        pytest.param({"add_bos_token": False}, ["\u2581a"], id="no-bos"),
        pytest.param({"add_eos_token": True}, ["<s>", "\u2581a", "</s>"], id="eos"),
        pytest.param({"add_bos_token": False, "add_eos_token": True}, ["\u2581a", "</s>"], id="eos-alone"),
    ],
)
def test_tokens_around_a_prompt_of_a_bpe(tmp_path: Path, config: dict[str, Any], expected: list[str]) -> None:
    write(tmp_path, tokenizer__model=trained("bpe-bytes"), tokenizer_config__json=config)
    assert tokens(converted(tmp_path), "a") == expected


def test_tokens_around_a_prompt_of_a_unigram_model(tmp_path: Path) -> None:
    write(tmp_path, spiece__model=trained("unigram"))
    tokenizer = converted(tmp_path)
    assert tokens(tokenizer, "a")[-1] == "</s>"
    assert tokens(tokenizer, "a")[0] != "<s>"


def test_tokens_of_the_settings_come_first(tmp_path: Path) -> None:
    write(tmp_path, tokenizer__model=trained("bpe-bytes"), tokenizer_config__json={"add_bos_token": True})
    settings = TextSettings(after_vocabulary=("[gMASK]", "sop"), begin=("[gMASK]", "sop"), end=("</s>",))
    tokenizer = converted(tmp_path, settings)
    assert tokens(tokenizer, "a") == ["[gMASK]", "sop", "\u2581a", "</s>"]
    size = len(trained("bpe-bytes")) and tokenizer.get_vocab_size(with_added_tokens=False)
    assert tokenizer.token_to_id("[gMASK]") == size
    assert tokenizer.token_to_id("sop") == size + 1


def test_a_token_around_a_prompt_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, tokenizer__model=trained("bpe-bytes"))
    with pytest.raises(BuildError, match=r"tokenizer\.model: the token 'sop' before or after a prompt not found"):
        convert(tmp_path, TextSettings(begin=("sop",)), print)


def test_special_tokens_of_the_json_files(tmp_path: Path) -> None:
    decoder = {
        "5": {"content": "<|five|>", "special": True},
        "700": {"content": "<mask>", "lstrip": True, "special": True},
    }
    write(
        tmp_path,
        tokenizer__model=ranks_file(600),
        tokenizer_config__json={"added_tokens_decoder": decoder, "eos_token": {"content": "<end>"}},
        added_tokens__json={"<tool>": 650},
        special_tokens_map__json={"additional_special_tokens": ["<extra>"]},
    )
    tokenizer = converted(tmp_path, _RANKS)
    ids = {name: tokenizer.token_to_id(name) for name in ("<|five|>", "<mask>", "<tool>", "<end>", "<extra>")}
    assert ids == {"<|five|>": 5, "<mask>": 700, "<tool>": 650, "<extra>": 702, "<end>": 701}
    added = tokenizer.get_added_tokens_decoder()
    assert (added[700].lstrip, added[700].special, added[650].special) == (True, True, False)
    assert tokenizer.encode("a  <mask>").ids == [tokenizer.token_to_id("a"), 700]


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"extra_ids": 100}, 100),
        ({"extra_ids": 3, "additional_special_tokens": [f"<extra_id_{index}>" for index in range(3)]}, 3),
        ({"additional_special_tokens": ["<extra_id_0>", "<extra_id_1>", "<other>"]}, 2),
        ({"extra_ids": 0}, 0),
    ],
    ids=["number", "both", "listed", "none"],
)
def test_the_first_sentinel_has_the_largest_id(tmp_path: Path, config: dict[str, Any], count: int) -> None:
    model = trained("unigram")
    write(tmp_path, spiece__model=model, tokenizer_config__json=config)
    tokenizer = converted(tmp_path)
    size = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    # T5Tokenizer of transformers 4: len(sp_model) - 1 + extra_ids - i.
    ids = [tokenizer.token_to_id(f"<extra_id_{index}>") for index in range(count + 1)]
    assert ids == [*(size - 1 + count - index for index in range(count)), None]
    if count:
        assert tokenizer.encode("a <extra_id_1> b").ids[1] == ids[1]


def test_a_special_token_in_place_of_a_piece(tmp_path: Path) -> None:
    decoder = {"300": {"content": "<|im_end|>", "special": True}}
    write(tmp_path, spiece__model=trained("unigram"), tokenizer_config__json={"added_tokens_decoder": decoder})
    assert converted(tmp_path).encode("<|im_end|>", add_special_tokens=False).ids == [300]


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        pytest.param(None, ["<bos>", "a"], id="none"),
        pytest.param({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}, ["<bos>", "a"], id="bytes"),
        pytest.param(
            {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"<eos>": {"id": "<eos>", "ids": [2], "tokens": ["<eos>"]}},
            },
            ["a", "<eos>"],
            id="template",
        ),
    ],
)
def test_add_bos_token_counts_without_a_template(
    tmp_path: Path, processor: dict[str, Any] | None, expected: list[str]
) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    tokenizer.add_special_tokens(["<bos>", "<eos>"])
    file = {**json.loads(tokenizer.to_str()), "post_processor": processor}
    write(tmp_path, tokenizer__json=file, tokenizer_config__json={"add_bos_token": True, "bos_token": "<bos>"})
    assert tokens(converted(tmp_path), "a") == expected


def test_a_tokenizer_json_is_stored_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, tokenizer__json='{"model": {}}', tokenizer__model=b"?", chat_template__jinja="x", modeling__py="")
    files = convert(tmp_path, TextSettings(chat="y"), print)
    assert files == {"tokenizer.json": b'{"model": {}}', "chat_template.jinja": b"x"}


def test_the_chat_template_of_the_settings(tmp_path: Path) -> None:
    write(tmp_path, tokenizer__json="{}", tokenizer_config__json={"chat_template": "own"})
    assert "chat_template.jinja" not in convert(tmp_path, TextSettings(chat="y"), print)
    write(tmp_path, tokenizer_config__json={})
    assert convert(tmp_path, TextSettings(chat="y"), print)["chat_template.jinja"] == b"y"


def test_the_vocabulary_of_longest_match_is_stored_under_one_name(tmp_path: Path) -> None:
    folder = write(tmp_path, rwkv_vocab_v2__txt="1 'a' 1")
    assert convert(folder, TextSettings(), print) == {"rwkv_vocab.txt": b"1 'a' 1"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, "no tokenizer file found", id="none"),
        pytest.param({"vocab__json": "{}"}, r"no tokenizer: vocab\.json alone is not supported", id="vocab-alone"),
        pytest.param({"x__tiktoken": "IQ== 0\n"}, "tiktoken's ranks have no split pattern", id="no-pattern"),
    ],
)
def test_a_folder_without_a_tokenizer_warns(tmp_path: Path, files: dict[str, str], message: str) -> None:
    warnings: list[str] = []
    assert convert(write(tmp_path, **files), TextSettings(), warnings.append) == {}
    (warning,) = warnings
    assert message in warning or re.search(message, warning)
    assert "it runs on token ids alone" in warning
    with pytest.raises(BuildError, match=f"--tokenizer .*{message}"):
        convert_files(None, tmp_path, TextSettings(), print)


def test_a_tokenizer_from_elsewhere(tmp_path: Path) -> None:
    checkpoint = write(
        tmp_path / "c", generation_config__json={"eos_token_id": 1}, chat_template__jinja="c", merges__txt=""
    )
    other = write(
        tmp_path / "o", tokenizer__model=trained("bpe-bytes"), generation_config__json={}, chat_template__jinja="o"
    )
    folder = convert_files(checkpoint, other, TextSettings(), print)
    assert (folder["chat_template.jinja"], folder["generation_config.json"]) == (b"o", b'{"eos_token_id": 1}')
    file = convert_files(checkpoint, other / "tokenizer.model", TextSettings(), print)
    assert (file["chat_template.jinja"], file["tokenizer.json"]) == (b"c", folder["tokenizer.json"])
    assert convert_files(None, other / "tokenizer.model", TextSettings(), print)["tokenizer.json"]
    assert convert_files(None, None, TextSettings(), print) == {}
    with pytest.raises(BuildError, match="--tokenizer nowhere: no such folder or file"):
        convert_files(None, "nowhere", TextSettings(), print)


def test_tekken_has_its_own_pattern_and_bos(tmp_path: Path) -> None:
    small = {**tekken(), "config": {**tekken()["config"], "default_vocab_size": 1300}}
    assert tokens(converted(write(tmp_path, tekken__json=small)), "a") == ["<s>", "a"]


def test_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, chat_template__jinja="x" * 19)
    monkeypatch.setattr(limits, "MAX_BYTES", 14)
    with pytest.raises(BuildError, match=r"chat_template\.jinja: 19 bytes, expected a tokenizer file of at most 14"):
        convert(tmp_path, TextSettings(), print)
