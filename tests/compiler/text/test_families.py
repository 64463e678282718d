"""Folders of families with remote code: detection, prefix and suffix, chat ids and stop tokens of a built plan."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archc.archspec import detect_spec, load_spec
from archc.compiler.build import build
from archc.plan.reader import Plan
from archc.runtime.text.json_file import JsonTokenizer
from archc.runtime.text.tokenizer import Tokenizer
from tests.compiler.text import families
from tests.compiler.text.families import (
    GLM4_SPECIAL,
    IDENTITY,
    RESERVED,
    train_pieces,
    white_space,
    write_config,
    write_ranks,
)

TURNS = [("user", "hello fox 12345"), ("assistant", "lazy\ndog  x"), ("user", "你好, e\u0301")]
MESSAGES = [{"role": role, "content": content} for role, content in TURNS]
TEXTS = ("hello fox", "", " lead", "a\nb\n\n c", "x   y\tz     \n w", "你好\n", "<|user|>", "12345")

Encode = Callable[[str], list[int]]


def built(folder: Path, spec: str, *overrides: str) -> tuple[Plan, Tokenizer]:
    """Build a folder with random weights, and return its plan and tokenizer; the spec must be the detected one."""
    assert detect_spec(json.loads((folder / "config.json").read_text())) == spec
    warnings: list[str] = []
    out = folder / "engine.plan"
    build(folder, random=0, out=out, overrides=overrides, warn=warnings.append)
    assert warnings == []
    plan = Plan(out)
    tokenizer = Tokenizer.from_plan(plan)
    assert tokenizer is not None
    return plan, tokenizer


def test_chatglm(tmp_path: Path) -> None:
    blanks = ["<n>", "<|tab|>", *(f"<|blank_{count}|>" for count in range(2, 81))]
    folder = write_config(tmp_path / "folder", families.CHATGLM)
    names = ["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"]
    library = train_pieces(
        folder / "ice_text.model", model_type="unigram", user_defined_symbols=blanks, control_symbols=names, **IDENTITY
    )
    gmask, sop, eop = (library.piece_to_id(name) for name in ("[gMASK]", "<sop>", "<eop>"))
    (folder / "config.json").write_text(json.dumps({**families.CHATGLM, "bos_token_id": sop}))
    plan, tokenizer = built(folder, "chatglm")
    for text in TEXTS:
        assert tokenizer.encode(text) == [*library.encode(white_space(text)), gmask, sop], text
        assert tokenizer.decode(library.encode(white_space(text))) == text
    one = tokenizer.chat_ids(MESSAGES[:1])
    assert one == [*library.encode("hello fox 12345"), gmask, sop]
    rounds = "[Round 0]\n问：hello fox 12345\n答：lazy\ndog  x\n[Round 1]\n问：你好, e\u0301\n答："
    assert tokenizer.chat_ids(MESSAGES) == [*library.encode(white_space(rounds)), gmask, sop]
    assert plan.manifest.tokens.eos == (eop,)


@pytest.mark.parametrize("options", [{}, IDENTITY, {"add_dummy_prefix": False}], ids=["nmt", "identity", "no prefix"])
def test_chatglm2(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_config(tmp_path / "folder", families.CHATGLM2)
    library = train_pieces(folder / "tokenizer.model", **options)
    prefix = [library.vocab_size() + 1, library.vocab_size() + 3]
    plan, tokenizer = built(folder, "chatglm2")
    for text in TEXTS:
        assert tokenizer.encode(text) == [*prefix, *library.encode(text)], text
    rounds = "[Round 1]\n\n问：hello fox 12345\n\n答：lazy\ndog  x\n\n[Round 2]\n\n问：你好, e\u0301\n\n答："
    assert tokenizer.chat_ids(MESSAGES) == [*prefix, *library.encode(rounds)]
    assert plan.manifest.tokens.eos == (2,)


@pytest.mark.parametrize("options", [{}, IDENTITY, {"add_dummy_prefix": False}], ids=["nmt", "identity", "no prefix"])
def test_chatglm3(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = write_config(tmp_path / "folder", families.CHATGLM3)
    library = train_pieces(folder / "tokenizer.model", **options)
    size = library.vocab_size()
    prefix = [size + 1, size + 3]
    role = {"system": size + 5, "user": size + 6, "assistant": size + 7}
    plan, tokenizer = built(folder, "chatglm3")
    for text in TEXTS:
        assert tokenizer.encode(text) == [*prefix, *library.encode(text)], text
    expected = list(prefix)
    for name, content in (("system", "you"), *TURNS):
        expected += [role[name], *library.encode("\n"), *library.encode(content)]
    assert tokenizer.chat_ids([{"role": "system", "content": "you"}, *MESSAGES]) == [*expected, role["assistant"]]
    assert plan.manifest.tokens.eos == (2, size + 6, size + 8)


def test_glm4(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.GLM4)
    pattern = load_spec("chatglm3").bind(families.GLM4).text_settings.pattern
    assert pattern is not None
    library = write_ranks(folder / "tokenizer.model", pattern, GLM4_SPECIAL)
    encode: Encode = library.encode_ordinary
    special = {name: library.encode_single_token(name) for name in GLM4_SPECIAL}
    plan, tokenizer = built(folder, "chatglm3")
    for text in TEXTS:
        assert tokenizer.encode(text) == [special["[gMASK]"], special["<sop>"], *encode(text)], text
    # Digits in groups of up to three.
    assert [tokenizer.decode([token]) for token in encode("1234")] == ["123", "4"]
    expected = [special["[gMASK]"], special["<sop>"]]
    for name, content in TURNS:
        expected += [special[f"<|{name}|>"], *encode("\n" + content)]
    assert tokenizer.chat_ids(MESSAGES) == [*expected, special["<|assistant|>"]]
    stops = [special[name] for name in ("<|endoftext|>", "<|user|>", "<|observation|>")]
    assert plan.manifest.tokens.eos == (263, *stops)


def test_baichuan_7b(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.BAICHUAN)
    library = train_pieces(folder / "tokenizer.model")
    plan, tokenizer = built(folder, "baichuan")
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text), text
    assert tokenizer.template is None
    assert plan.manifest.tokens.eos == (2,)


@pytest.mark.parametrize("kind", ["user_defined_symbols", "control_symbols"])
@pytest.mark.parametrize("options", [{}, IDENTITY, {"add_dummy_prefix": False}], ids=["nmt", "identity", "no prefix"])
@pytest.mark.parametrize(
    ("spec", "config"),
    [
        ("baichuan-13b", families.BAICHUAN_13B),
        ("baichuan2", families.BAICHUAN2),
        ("baichuan2-13b", families.BAICHUAN2_13B),
    ],
    ids=["13b", "2-7b", "2-13b"],
)
def test_baichuan_chat(tmp_path: Path, spec: str, config: dict[str, Any], options: dict[str, Any], kind: str) -> None:
    folder = write_config(tmp_path / "folder", config)
    library = train_pieces(folder / "tokenizer.model", 800, **options, **{kind: RESERVED})
    plan, tokenizer = built(folder, spec)
    for text in TEXTS:
        assert tokenizer.encode(text) == library.encode(text), text
    question, answer, last = (library.encode(content) for _, content in TURNS)
    assert tokenizer.chat_ids(MESSAGES) == [195, *question, 196, *answer, 195, *last, 196]
    # A token of a turn in a message is text.
    spelled = [{"role": "user", "content": library.id_to_piece(196)}]
    assert tokenizer.chat_ids(spelled).count(196) == 1
    assert plan.manifest.tokens.eos == (2,)


def test_the_ids_of_generation_config_come_first(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.BAICHUAN2)
    train_pieces(folder / "tokenizer.model", 800, control_symbols=RESERVED)
    (folder / "generation_config.json").write_text('{"user_token_id": 200, "assistant_token_id": 201}')
    _, tokenizer = built(folder, "baichuan2")
    ids = tokenizer.chat_ids(MESSAGES[:1])
    assert (ids[0], ids[-1]) == (200, 201)


def test_qwen(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.QWEN)
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{index}|>" for index in range(205))]
    pattern = load_spec("qwen").bind(families.QWEN).text_settings.pattern
    assert pattern is not None
    library = write_ranks(folder / "qwen.tiktoken", pattern, names)

    def encode(text: str) -> list[int]:
        return library.encode_ordinary(unicodedata.normalize("NFC", text))

    start, stop = (library.encode_single_token(name) for name in ("<|im_start|>", "<|im_end|>"))
    plan, tokenizer = built(folder, "qwen")
    for text in (*TEXTS, "e\u0301"):
        assert tokenizer.encode(text) == encode(text), text
    assert [tokenizer.decode([token]) for token in encode("1234")] == ["1", "2", "3", "4"]
    assert tokenizer.encode("<|extra_204|>", parse_special=True) == [library.encode_single_token("<|extra_204|>")]
    expected: list[int] = []
    for name, content in (("system", "You are a helpful assistant."), *TURNS):
        expected += [start, *encode(f"{name}\n{content}"), stop, *encode("\n")]
    assert tokenizer.chat_ids(MESSAGES) == [*expected, start, *encode("assistant\n")]
    assert plan.manifest.tokens.eos == (stop, start)


def test_internlm(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.INTERNLM)
    library = train_pieces(
        folder / "tokenizer.model", add_dummy_prefix=False, user_defined_symbols=["<eoa>"], **IDENTITY
    )
    eoa = library.piece_to_id("<eoa>")
    plan, tokenizer = built(folder, "internlm")
    for text in TEXTS:
        assert tokenizer.encode(text) == [1, *library.encode(text)], text
    first = library.encode(f"<|User|>:{TURNS[0][1]}\n<|Bot|>:{TURNS[1][1]}")
    second = library.encode(f"\n<|User|>:{TURNS[2][1]}\n<|Bot|>:")
    assert tokenizer.chat_ids(MESSAGES) == [1, *first, eoa, *second]
    # A stop token in a message is text.
    assert eoa not in tokenizer.chat_ids([{"role": "user", "content": "<eoa>"}])
    assert plan.manifest.tokens.eos == (2, eoa)


@pytest.mark.parametrize("prefix", [True, False], ids=["dummy prefix", "no prefix"])
def test_yuan(tmp_path: Path, prefix: bool) -> None:
    folder = write_config(tmp_path / "folder", families.YUAN | {"eos_token_id": 77185})
    library = train_pieces(
        folder / "tokenizer.model", add_dummy_prefix=prefix, user_defined_symbols=["<n>"], **IDENTITY
    )
    eod, sep = library.vocab_size(), library.vocab_size() + 1
    plan, tokenizer = built(folder, "yuan2")
    for text in TEXTS:
        assert tokenizer.encode(text) == [*library.encode(text), sep], text
    turns = "<n>".join(content for _, content in TURNS)
    assert tokenizer.chat_ids(MESSAGES) == [*library.encode(turns), sep]
    assert plan.manifest.tokens.eos == (77185, eod)


@pytest.mark.parametrize(
    ("spec", "config"), [("skywork", families.SKYWORK), ("openelm", families.OPENELM)], ids=["skywork", "openelm"]
)
def test_prompts_begin_with_bos(tmp_path: Path, spec: str, config: dict[str, Any]) -> None:
    folder = write_config(tmp_path / "folder", config)
    library = train_pieces(folder / "tokenizer.model")
    _, tokenizer = built(folder, spec)
    for text in TEXTS:
        assert tokenizer.encode(text) == [1, *library.encode(text)], text
    assert tokenizer.template is None


def test_rwkv_has_turns(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.RWKV5)
    (folder / "rwkv_vocab_v20230424.txt").write_text("1 'a' 1\n2 '\\n\\n' 2\n")
    assert detect_spec(families.RWKV5) == "rwkv5"
    build(folder, random=0, out=folder / "engine.plan")
    plan = Plan(folder / "engine.plan")
    assert plan.manifest.chat_stop == ("\n\n",)
    template = plan.read("tokenizer/chat_template.jinja").decode()
    definition = b'{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'
    tokenizer = Tokenizer(JsonTokenizer(definition), {}, template)
    messages = [MESSAGES[0], {"role": "assistant", "content": " lazy\r\ndog\n\n\nx "}, MESSAGES[2]]
    assert (
        tokenizer.chat(messages)
        == "User: hello fox 12345\n\nAssistant: lazy\ndog\nx\n\nUser: 你好, e\u0301\n\nAssistant:"
    )


def test_an_override_replaces_template_and_stop_tokens(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "folder", families.CHATGLM2)
    library = train_pieces(folder / "tokenizer.model")
    (folder / "chat_template.jinja").write_text("of the folder")
    (tmp_path / "mine.jinja").write_text("[gMASK]sop{{ messages[0].content }}")
    size = library.vocab_size()
    overrides = (f"text.chat=@{tmp_path / 'mine.jinja'}", "text.stop=[eop, 5]", "text.begin=[sop]")
    plan, tokenizer = built(folder, "chatglm2", *overrides)
    assert tokenizer.chat_ids([{"role": "user", "content": "hello"}]) == [size + 1, size + 3, *library.encode("hello")]
    assert tokenizer.encode("hello") == [size + 3, *library.encode("hello")]
    assert plan.manifest.tokens.eos == (2, size + 4, 5)
