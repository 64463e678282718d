"""Source and target segmentation with one table of ids, compared with transformers' tokenizer of Marian."""

from __future__ import annotations

import json
import random

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import MarianTokenizer

from archc import runtime
from archc.runtime import PlanError

SENTENCES = {
    "source": ["the cat sat on the mat", "a dog ran in the old house", "she reads books and writes letters"] * 20,
    "target": ["le chat est assis sur le tapis", "un chien court dans la maison", "elle lit des livres à Noël"] * 20,
}
CODES = [">>fr<<", ">>de<<"]


def unigram(model: bytes) -> Tokenizer:
    """Return the `tokenizers` form of a sentencepiece model with the normalizer nmt_nfkc."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    normal = proto.SentencePiece.NORMAL  # other pieces are never part of a text
    pieces = [(piece.piece if piece.type == normal else f"\0{i}", piece.score) for i, piece in enumerate(proto.pieces)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=False))
    charsmap = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    spaces = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence([charsmap, *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    return tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder as checkpoints of translation models have it, with the two JSON files of a plan as well."""
    path = tmp_path_factory.mktemp("translation")
    pieces = {"</s>": 0, "<unk>": 1}
    for side, name in (("source", "tokenizer.json"), ("target", "target.json")):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES[side]),
            model_prefix=str(path / side),
            vocab_size=60,
            model_type="unigram",
            hard_vocab_limit=False,
            minloglevel=2,
        )
        model = path / f"{side}.model"
        model.rename(path / f"{side}.spm")
        tokenizer = unigram((path / f"{side}.spm").read_bytes())
        (path / name).write_text(tokenizer.to_str())
        for piece in sorted(tokenizer.get_vocab()):
            pieces.setdefault(piece, len(pieces))
    for piece in [*CODES, "<pad>"]:
        pieces.setdefault(piece, len(pieces))
    (path / "vocab.json").write_text(json.dumps(pieces))
    (path / "tokenizer_config.json").write_text(json.dumps({"source_lang": "en", "target_lang": "fr"}))
    return path


@pytest.fixture(scope="module")
def reference(folder):
    return MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")))


@pytest.fixture(scope="module")
def files(folder):
    names = ("tokenizer.json", "target.json", "vocab.json", "tokenizer_config.json")
    return {f"tokenizer/{name}": (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def tokenizer(tiny, files, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "p"
    return runtime.load(tiny.write(path, with_tokenizer=False, extra=files), 1).tokenizer


def strings(count):
    chance = random.Random(1)
    words = " ".join(SENTENCES["source"] + SENTENCES["target"]).split()
    odd = ["ﬁ", "①", "日本", "ж", "\u00a0", "  ", "\t", "\n", "!", "É", "e\u0301", "\u200b", "１２", "ïx"]
    for _ in range(count):
        parts = chance.choices(words, k=chance.randint(0, 8)) + chance.choices(odd, k=chance.randint(0, 2))
        chance.shuffle(parts)
        yield chance.choice(["", "", *(f"{code} " for code in CODES)]) + chance.choice([" ", ""]).join(parts)


def test_ids_are_those_of_the_reference(tokenizer, reference):
    for text in strings(2000):
        assert tokenizer.encode(text) == reference(text)["input_ids"], text
        assert tokenizer.encode(text, add_special_tokens=False) == reference(text)["input_ids"][:-1]


def test_the_text_of_ids_is_that_of_the_reference(tokenizer, reference, folder):
    target = sentencepiece.SentencePieceProcessor(str(folder / "target.spm"))
    table = json.loads((folder / "vocab.json").read_text())
    for text in strings(2000):
        ids = [table.get(piece, 1) for piece in target.encode(text, out_type=str)]
        # The reference strips spaces at the end, which a stream has emitted by then.
        assert tokenizer.decode([*ids, 0]).rstrip(" ") == reference.decode([*ids, 0], skip_special_tokens=True)
        stream = tokenizer.stream()
        assert "".join([*map(stream.push, ids), stream.flush()]) == tokenizer.decode(ids)
    assert tokenizer.decode([10**6]) == ""


def test_a_target_language_is_one_token_at_the_beginning(tokenizer, reference, folder):
    table = json.loads((folder / "vocab.json").read_text())
    ids = tokenizer.encode(">>fr<< the cat")
    assert ids == [table[">>fr<<"], *tokenizer.encode("the cat")]
    assert tokenizer.encode(">>xx<< the cat") == reference(">>xx<< the cat")["input_ids"]
    assert table[">>fr<<"] not in tokenizer.encode("the cat >>fr<<")


def test_special_tokens_in_a_text_are_text_unless_parsed(tokenizer):
    assert tokenizer.encode("the</s>", add_special_tokens=False, parse_special=True)[-1] == 0
    assert 0 not in tokenizer.encode("the</s>", add_special_tokens=False)
    assert tokenizer.decode([0], skip_special_tokens=False).strip() == "</s>"
    assert tokenizer.special_tokens_in("a<pad>") == ["<pad>"]


INVALID = {
    "no table": ("vocab.json", None, r"vocab\.json not found, but tokenizer/target\.json is"),
    "a table that is not JSON": ("vocab.json", b"{", r"vocab\.json is not JSON"),
    "a table that is a list": ("vocab.json", b"[]", "expected an object of ids by piece"),
    "an id that is text": ("vocab.json", b'{"</s>": "0"}', "expected an id .* got '0'"),
    "one id for two pieces": ("vocab.json", b'{"</s>": 0, "<unk>": 0}', "id 0 is that of '</s>' and of '<unk>'"),
    "no end of text": ("vocab.json", b'{"<unk>": 1}', "token '</s>' not found"),
    "no unknown token": ("vocab.json", b'{"</s>": 0}', "token '<unk>' not found"),
    "a damaged target": ("target.json", b"{}", r"tokenizer/target\.json is damaged"),
    "a damaged source": ("tokenizer.json", b"{}", r"tokenizer/tokenizer\.json is damaged"),
}


@pytest.mark.parametrize(("name", "content", "message"), INVALID.values(), ids=INVALID)
def test_damaged_files_are_plan_errors(tiny, tmp_path, files, name, content, message):
    changed = {**files, f"tokenizer/{name}": content}
    extra = {key: value for key, value in changed.items() if value is not None}
    engine = runtime.load(tiny.write(tmp_path / "p", with_tokenizer=False, extra=extra), 1)
    with pytest.raises(PlanError, match=message):
        _ = engine.tokenizer
