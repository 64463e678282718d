"""The longest match in a vocabulary of byte strings, compared with the package `rwkv`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import rwkv
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from archc import runtime
from archc.runtime import PlanError
from archc.runtime.text.added_tokens import AddedToken
from archc.runtime.text.longest_match import LongestMatch
from archc.runtime.text.tokenizer import Tokenizer

FILE = Path(rwkv.__file__).with_name("rwkv_vocab_v20230424.txt")
BYTES = "".join(f"{byte + 1} {bytes([byte])!r} 1\n" for byte in range(256)).encode()
ALPHABETS = [
    "abc e\n",
    "thequickbrown .,'",
    "0123456789+-=",
    "日本語한국어",
    "абвгд ",
    "éàü\u0301",
    "😀👍🏽\u200d",
    "\x00\t\r\ufffd",
]


@pytest.fixture(scope="module")
def world():
    return LongestMatch(FILE.read_bytes())


@pytest.fixture(scope="module")
def reference():
    return TRIE_TOKENIZER(str(FILE))


def strings(count):
    chance = random.Random(0)
    for _ in range(count):
        letters = "".join(chance.sample(ALPHABETS, chance.randint(1, 3)))
        yield "".join(chance.choices(letters, k=chance.randint(0, 40)))


def test_ids_and_text_are_those_of_the_reference(world, reference):
    for text in strings(2000):
        ids = world.encode(text, add_special_tokens=True, parse_special=False)
        assert ids == reference.encode(text)
        assert world.decode(ids, skip_special_tokens=True) == text


def test_streams_have_whole_characters(world):
    tokenizer = Tokenizer(world, {}, None)
    for text in strings(300):
        ids = tokenizer.encode(text)
        half = len(ids) // 2
        stream = tokenizer.stream(ids[:half])
        pieces = [stream.push(token) for token in ids[half:]]
        if "\ufffd" not in text:
            assert not any("\ufffd" in piece for piece in pieces)
        before = tokenizer.decode(ids[:half]).rstrip("\ufffd") if "\ufffd" not in text else None
        if before is not None:
            assert before + "".join([*pieces, stream.flush()]) == text


def test_invalid_bytes_become_replacement_characters_and_unknown_ids_nothing(world):
    first, *_ = world.encode("한", False, False)
    byte = next(token for token in range(1, 257) if world.decode([token], True) == "\ufffd")
    assert world.decode([byte, first, 10**6], True).startswith("\ufffd")
    assert world.decode([10**6], True) == ""


def test_the_end_of_text_is_special(world):
    assert world.special == {"<|endoftext|>": 0}
    assert world.encode("a<|endoftext|>b", True, parse_special=True) == [98, 0, 99]
    assert 0 not in world.encode("a<|endoftext|>b", True, parse_special=False)
    assert (world.decode([98, 0], True), world.decode([98, 0], False)) == ("a", "a<|endoftext|>")
    assert world.encode_marked("<|endoftext|><|endoftext|>", [(13, 26)])[-1] == 0
    assert world.vocab_size == 65530


def test_names_of_a_config_are_special_unless_they_are_text():
    added = [AddedToken("<s>", "x", special=True), AddedToken("<pad>", "x", 300), AddedToken("\n", "x", 11)]
    small = LongestMatch(BYTES, added)
    assert small.special == {"<s>": 0, "<pad>": 300}
    assert small.vocab_size == 301
    with pytest.raises(PlanError, match=r"id 5 of token 'zz' is that of b'\\x04'"):
        LongestMatch(BYTES, [AddedToken("zz", "x", 5)])


def test_a_vocabulary_without_special_tokens_has_none():
    content = "".join(f"{byte} {bytes([byte])!r} 1\n" for byte in range(256)).encode()
    plain = LongestMatch(content)
    assert plain.special == {}
    assert plain.encode("ab", True, parse_special=True) == [97, 98]


INVALID = {
    "not UTF-8": (b"\xff", "not UTF-8"),
    "empty": (b"", "for byte 0"),
    "a missing byte": (BYTES.replace(b"98 b'a' 1\n", b""), "for byte 97"),
    "a wrong length": (BYTES + b"300 'ab' 3\n", "line 257: expected a token of 3 bytes .* got 2"),
    "an empty token": (BYTES + b"300 '' 0\n", "line 257: expected a token of 0 bytes"),
    "a call": (BYTES + b"300 __import__('os').getcwd() 4\n", "line 257: expected a literal of text or bytes"),
    "a number": (BYTES + b"300 7 1\n", "line 257: expected a literal"),
    "an open literal": (BYTES + b"300 'ab 2\n", "line 257: expected a literal"),
    "a lone surrogate": (BYTES + b"300 '\\ud800' 3\n", "line 257: .* lone surrogate"),
    "no id": (BYTES + b"x 'ab' 2\n", "line 257: expected `id literal length`"),
    "a large id": (BYTES + b"99999999 'ab' 2\n", "line 257: expected an id below"),
    "an id twice": (BYTES + b"5 'ab' 2\n", "line 257: id 5 occurs twice"),
    "a token twice": (BYTES + b"300 'a' 1\n", "line 257: the token of id 300 is also that of id 98"),
    "deep nesting": (BYTES + b"300 " + b"(" * 5000 + b" 2\n", "line 257: expected a literal"),
}


@pytest.mark.parametrize(("content", "message"), INVALID.values(), ids=INVALID)
def test_damaged_vocabularies_are_plan_errors(content, message):
    with pytest.raises(PlanError, match=message):
        LongestMatch(content)


def test_a_plan_with_the_vocabulary_has_text(tiny, tmp_path):
    extra = {
        "tokenizer/rwkv_vocab.txt": BYTES + b"300 'he' 2\n",
        "tokenizer/tokenizer_config.json": b'{"eos_token": "<s>", "chat_template": "<s>{{ messages[0].content }}"}',
    }
    with_text = runtime.load(tiny.write(tmp_path / "p", with_tokenizer=False, extra=extra), 1)
    assert with_text.tokenizer.encode("he h") == [300, 33, 105]
    assert with_text.tokenizer.chat_ids([{"role": "user", "content": "<s>he"}]) == [0, 61, 116, 63, 300]
