"""A family's text and the files of a folder: the folder's own take precedence, and overrides over both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, processors

from archc.archspec.vocabulary import Text, Whitespace
from archc.compiler.text.family import chat_stop, text_files
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.tokenizer import Tokenizer

MESSAGE = [{"role": "user", "content": "ab"}]
FAMILY = Text(
    begin=("<s>",),
    end=(2,),
    user=3,
    assistant="<a>",
    chat="{{ user_token }}{{ messages[0].content }}{{ assistant_token }}",
    stop=("</s>", 4),
)
NAMES = ["<unk>", "<s>", "</s>", "<u>", "<a>"]


def write_own(folder: Path, post_processor: processors.PostProcessor | None = None) -> Path:
    """Write a tokenizer.json whose first tokens are NAMES, then one for each letter."""
    vocab = {token: index for index, token in enumerate([*NAMES, *"abcdefgh"])}
    library = Library(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    library.add_special_tokens(NAMES)
    library.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    library.decoder = decoders.Fuse()
    if post_processor is not None:
        library.post_processor = post_processor
    library.save(str(folder / "tokenizer.json"))
    return folder


def tokenizer_of(files: dict[str, bytes]) -> Tokenizer:
    """Return the runtime's tokenizer of a plan's files."""
    template = files["chat_template.jinja"].decode() if "chat_template.jinja" in files else None
    return Tokenizer(
        JsonTokenizer(files["tokenizer.json"]), json.loads(files.get("tokenizer_config.json", b"{}")), template
    )


def converted(folder: Path, text: Text, *overridden: str) -> tuple[Tokenizer, tuple[int, ...]]:
    """Return tokenizer and stop tokens of a folder; any warning is an error."""

    def fail(message: str) -> None:
        raise AssertionError(message)

    files, stop = text_files(folder, None, text, overridden, fail)
    return tokenizer_of(files), stop


def test_a_tokenizer_without_tokens_around_a_prompt_has_those_of_the_family(tmp_path: Path) -> None:
    tokenizer, stop = converted(write_own(tmp_path), FAMILY)
    assert tokenizer.encode("ab") == [1, 5, 6, 2]
    assert tokenizer.chat_ids(MESSAGE) == [3, 5, 6, 4]
    assert stop == (2, 4)


def test_the_folder_comes_first(tmp_path: Path) -> None:
    own = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    write_own(tmp_path, own)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}h")
    before = (tmp_path / "tokenizer.json").read_bytes()
    files, stop = text_files(tmp_path, None, FAMILY, (), pytest.fail)
    assert files["tokenizer.json"] == before
    assert tokenizer_of(files).chat_ids(MESSAGE) == [5, 6, 12]
    assert stop == (2, 4)


@pytest.mark.parametrize("key", ["add_bos_token", "add_eos_token"])
def test_a_flag_of_the_folder_comes_first(tmp_path: Path, key: str) -> None:
    write_own(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({key: False}))
    assert converted(tmp_path, FAMILY)[0].encode("ab") == [5, 6]


@pytest.mark.parametrize(
    "template", ["{{ 'h' }}", [{"name": "default", "template": "{{ 'h' }}"}]], ids=["one", "named"]
)
def test_a_template_in_the_config_comes_first(tmp_path: Path, template: Any) -> None:
    write_own(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    files, _ = text_files(tmp_path, None, FAMILY, (), pytest.fail)
    assert "chat_template.jinja" not in files


def test_overrides_come_before_the_folder(tmp_path: Path) -> None:
    own = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    write_own(tmp_path, own)
    (tmp_path / "chat_template.jinja").write_text("h")
    tokenizer, _ = converted(tmp_path, FAMILY, "text.chat", "text.begin")
    assert tokenizer.encode("ab") == [1, 5, 6, 2]
    assert tokenizer.chat_ids(MESSAGE) == [3, 5, 6, 4]


def test_a_token_that_the_tokenizer_lacks_is_a_warning(tmp_path: Path) -> None:
    warnings: list[str] = []
    files, stop = text_files(write_own(tmp_path), None, Text(begin=("<s>", "<x>"), stop=(99, 4)), (), warnings.append)
    assert stop == (4,)
    assert tokenizer_of(files).encode("a") == [1, 5]
    assert warnings == [
        f"{tmp_path}: the tokenizer has no token 99, which text.stop names; set text.stop",
        f"{tmp_path}: the tokenizer has no token '<x>', which text.begin names; set text.begin",
    ]


def test_a_family_without_text_changes_nothing(tmp_path: Path) -> None:
    write_own(tmp_path)
    files, stop = text_files(tmp_path, None, Text(), (), pytest.fail)
    assert (files["tokenizer.json"], stop) == ((tmp_path / "tokenizer.json").read_bytes(), ())


def test_a_folder_without_a_tokenizer_has_no_template(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert text_files(tmp_path, None, FAMILY, (), warnings.append) == ({}, ())
    assert len(warnings) == 1
    assert text_files(None, None, FAMILY, (), pytest.fail) == ({}, ())


def test_white_space_of_an_own_tokenizer_is_unchanged(tmp_path: Path) -> None:
    write_own(tmp_path)
    text = Text(whitespace=Whitespace(newline="<u>"), begin=())
    assert converted(tmp_path, text)[0].encode("a\nb") == [5, 0, 6]


def test_a_tokenizer_from_elsewhere_has_the_text_of_the_family(tmp_path: Path) -> None:
    checkpoint, elsewhere = tmp_path / "checkpoint", tmp_path / "elsewhere"
    checkpoint.mkdir()
    elsewhere.mkdir()
    write_own(elsewhere)
    for source in (elsewhere, elsewhere / "tokenizer.json"):
        files, stop = text_files(checkpoint, source, FAMILY, (), pytest.fail)
        assert tokenizer_of(files).encode("ab") == [1, 5, 6, 2]
        assert tokenizer_of(files).chat_ids(MESSAGE) == [3, 5, 6, 4]
        assert stop == (2, 4)


def test_texts_that_end_an_answer_belong_to_the_template_of_the_family() -> None:
    text = Text(chat="{{ user_token }}", stop_text=("\n\n",))
    assert chat_stop({"chat_template.jinja": b"{%- set user_token = 'a' -%}\n{{ user_token }}"}, text) == ("\n\n",)
    assert chat_stop({"chat_template.jinja": b"of the folder"}, text) == ()
    assert chat_stop({}, text) == ()


def test_quotes_in_a_token_of_a_turn(tmp_path: Path) -> None:
    vocab = {"<unk>": 0, "\"'{{": 1, "a": 2, "b": 3}
    library = Library(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    library.add_special_tokens(["\"'{{"])
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer, _ = converted(tmp_path, Text(user=1, chat="{{ user_token }}{{ messages[0].content }}"))
    assert tokenizer.chat_ids(MESSAGE) == [1, 2, 3]


def test_ranges_of_tokens() -> None:
    text = Text(after_vocabulary=("<a>", "<x{8..10}>", "{a..b}"))
    assert text.tokens_after_vocabulary == ("<a>", "<x8>", "<x9>", "<x10>", "{a..b}")
