"""Small tokenizers in the published form, with the genuine library's ids."""

from __future__ import annotations

import functools
import json
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mistral_common
import rwkv
import sentencepiece
import tokenizers
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from transformers import MarianTokenizer

from tests.compiler.text.families import CORPUS, IDENTITY, train_pieces, write_ranks

Encode = Callable[[str], list[int]]
Writer = Callable[[Path], "Text"]

GPT2_PATTERN = ""
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ONE_DIGIT = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Text:
    """A tokenizer as its own library reads it: the ids of a text without tokens around it, and of special tokens."""

    encode: Encode
    special: Mapping[str, int]
    size: int
    #: Strings whose ids the library has differently because it parses special tokens in a text.
    parsed: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Vocabulary:
    """A form of tokenizer files: its name in the table, and the function that writes one."""

    label: str
    write: Writer


def sentencepieces(
    file: str = "tokenizer.model",
    after: Sequence[str] = (),
    size: int = 480,
    replace: Callable[[str], str] = lambda text: text,
    **options: Any,
) -> Vocabulary:
    """Return a sentencepiece model; only code has the special tokens `after` it and the text that it replaces."""

    def write(folder: Path) -> Text:
        data = _trained(size, json.dumps(options))
        (folder / file).write_bytes(data)
        library = sentencepiece.SentencePieceProcessor(model_proto=data)
        count = library.vocab_size()
        pieces = {library.id_to_piece(index): index for index in range(count)}
        special = {name: count + index for index, name in enumerate(after)}
        return Text(lambda text: library.encode(replace(text)), pieces | special, count + len(after))

    return Vocabulary(f"`{file}` (sentencepiece)", write)


@functools.cache
def _trained(size: int, options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return train_pieces(Path(folder) / "m", size, **json.loads(options)).serialized_model_proto()


def bpe_json(
    prefix: bool = True,
    begin: Sequence[str] = (),
    special: Sequence[str] = (),
    model: str | None = None,
    unknown: str = "<unk>",
    **options: Any,
) -> Vocabulary:
    """Return the tokenizer.json that transformers made from a sentencepiece model, which lies next to it as `model`.

    `prefix` puts a space before a text.
    """

    def write(folder: Path) -> Text:
        data = _trained(480, json.dumps(IDENTITY | {"add_dummy_prefix": prefix} | options))
        if model is not None:
            (folder / model).write_bytes(data)
        library = sentencepiece.SentencePieceProcessor(model_proto=data)
        pieces = [library.id_to_piece(index) for index in range(library.vocab_size())]
        ids = {piece: index for index, piece in enumerate(pieces)}
        plain = [
            piece for index, piece in enumerate(pieces) if not (library.is_control(index) or library.is_byte(index))
        ]
        merges = [
            (ids[piece], (piece[:cut], piece[cut:]))
            for piece in plain
            for cut in range(1, len(piece))
            if piece[:cut] in ids and piece[cut:] in ids
        ]
        made = tokenizers.Tokenizer(
            models.BPE(ids, [pair for _, pair in sorted(merges)], unk_token=unknown, fuse_unk=True, byte_fallback=True)
        )
        parts = [normalizers.Prepend("▁")] if prefix else []
        made.normalizer = normalizers.Sequence([*parts, normalizers.Replace(" ", "▁")])
        strip = [decoders.Strip(" ", 1, 0)] if prefix else []
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
        controls = [piece for index, piece in enumerate(pieces) if library.is_control(index)]
        return _save(made, folder, [unknown, *controls, *special], begin, ())

    return Vocabulary("`tokenizer.json`" + (f", `{model}`" if model else ""), write)


def byte_level_json(
    pattern: str = GPT2_PATTERN,
    special: Sequence[str] = ("<|endoftext|>",),
    begin: Sequence[str] = (),
    end: Sequence[str] = (),
    nfc: bool = False,
    *,
    with_merges: bool = False,
    file: str = "tokenizer.json",
) -> Vocabulary:
    """Return a tokenizer.json of byte-level BPE, with GPT-2's split or another; merges may lie next to it."""

    def write(folder: Path) -> Text:
        ids, merges = _merges()
        if with_merges:
            _write_merges(folder, ids, merges)
        made = tokenizers.Tokenizer(models.BPE(dict(ids), list(merges)))
        split: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)
        if pattern:
            split = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        if nfc:
            made.normalizer = normalizers.NFC()
        made.pre_tokenizer = split
        made.decoder = decoders.ByteLevel()
        text = _save(made, folder, special, begin, end)
        (folder / "tokenizer.json").rename(folder / file)
        return text

    return Vocabulary(f"`{file}`" + (", `vocab.json`, `merges.txt`" if with_merges else ""), write)


def lower_case_json() -> Vocabulary:
    """Return the files of GPT: BPE over lower-case words, whose last piece ends in </w>."""

    def write(folder: Path) -> Text:
        made = tokenizers.CharBPETokenizer(lowercase=True, bert_normalizer=True, split_on_whitespace_only=False)
        made.train_from_iterator(CORPUS, vocab_size=300, min_frequency=1, special_tokens=["<unk>"], show_progress=False)
        made.save_model(str(folder))
        made.save(str(folder / "tokenizer.json"))
        library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        library.encode_special_tokens = True
        return Text(lambda text: library.encode(text).ids, {"<unk>": 0}, library.get_vocab_size())

    return Vocabulary("`tokenizer.json`, `vocab.json`, `merges.txt`", write)


def merges_files(special: Sequence[str], first: Sequence[str] = ()) -> Vocabulary:
    """Return vocab.json and merges.txt of byte-level BPE, with special tokens in front of or after all others."""

    def write(folder: Path) -> Text:
        ids, merges = _merges()
        names = [*first, *ids, *special]
        numbered = {name: index for index, name in enumerate(names)}
        _write_merges(folder, numbered, merges)
        made = tokenizers.ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
        special_ids = {name: numbered[name] for name in (*first, *special)}
        return Text(lambda text: made.encode(text).ids, special_ids, len(numbered))

    return Vocabulary("`vocab.json`, `merges.txt`", write)


@functools.cache
def _merges() -> tuple[Mapping[str, int], Sequence[tuple[str, str]]]:
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=420, min_frequency=1, show_progress=False)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _write_merges(folder: Path, ids: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> None:
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _save(
    made: tokenizers.Tokenizer, folder: Path, special: Sequence[str], begin: Sequence[str], end: Sequence[str]
) -> Text:
    """Add special tokens and those around a prompt, write tokenizer.json, and return what the library makes of it."""
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    around = [*begin, *end]
    if around:
        made.post_processor = processors.TemplateProcessing(
            single=[*begin, "$A", *end],
            special_tokens=[(name, made.token_to_id(name)) for name in dict.fromkeys(around)],
        )
    made.save(str(folder / "tokenizer.json"))
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.encode_special_tokens = True
    ids = {name: library.token_to_id(name) for name in special}
    return Text(lambda text: library.encode(text, add_special_tokens=False).ids, ids, library.get_vocab_size())


def ranks(file: str, pattern: str, special: Sequence[str], nfc: bool = False) -> Vocabulary:
    """Return a file of tiktoken's ranks, whose pattern and special tokens are in code."""

    def write(folder: Path) -> Text:
        library = write_ranks(folder / file, pattern, special)

        def encode(text: str) -> list[int]:
            return library.encode_ordinary(unicodedata.normalize("NFC", text) if nfc else text)

        ids = {name: library.encode_single_token(name) for name in special}
        return Text(encode, ids, library.n_vocab)

    return Vocabulary(f"`{file}` (tiktoken)", write)


def tekken(tokens: int) -> Vocabulary:
    """Return the first tokens of Mistral's tekken.json."""

    def write(folder: Path) -> Text:
        file = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240911.json").read_bytes())
        file["config"]["default_vocab_size"] = tokens
        file["vocab"] = file["vocab"][:tokens]
        (folder / "tekken.json").write_text(json.dumps(file), "utf-8")
        library = Tekkenizer.from_file(folder / "tekken.json")
        special = {library.id_to_piece(index): index for index in range(library.num_special_tokens)}
        return Text(lambda text: library.encode(text, bos=False, eos=False), special, library.n_words)

    return Vocabulary("`tekken.json`", write)


def words(lower: bool, with_json: bool = True) -> Vocabulary:
    """Return a vocab.txt, and the tokenizer.json next to it."""

    def write(folder: Path) -> Text:
        trained = tokenizers.BertWordPieceTokenizer(lowercase=lower)
        trained.train_from_iterator(CORPUS, vocab_size=300, min_frequency=1, show_progress=False)
        trained.save_model(str(folder))
        made = tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lower)
        if with_json:
            made.save(str(folder / "tokenizer.json"))
        library = tokenizers.Tokenizer.from_str(made.to_str())
        library.encode_special_tokens = True
        names = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
        special = {name: made.token_to_id(name) for name in names}
        return Text(lambda text: library.encode(text, add_special_tokens=False).ids, special, made.get_vocab_size())

    return Vocabulary("`vocab.txt`, `tokenizer.json`" if with_json else "`vocab.txt`", write)


def world() -> Vocabulary:
    """Return the vocabulary of the RWKV World models."""

    def write(folder: Path) -> Text:
        file = Path(rwkv.__file__).with_name("rwkv_vocab_v20230424.txt")
        (folder / file.name).write_bytes(file.read_bytes())
        return Text(TRIE_TOKENIZER(str(file)).encode, {}, 65536)

    return Vocabulary("`rwkv_vocab_v20230424.txt`", write)


def translation() -> Vocabulary:
    """Return source.spm, target.spm and vocab.json."""

    def write(folder: Path) -> Text:
        ids = {"</s>": 0, "<unk>": 1}
        for name in ("source.spm", "target.spm"):
            data = _trained(300, json.dumps({"model_type": "unigram", "byte_fallback": False}))
            (folder / name).write_bytes(data)
            library = sentencepiece.SentencePieceProcessor(model_proto=data)
            for index in range(library.get_piece_size()):
                ids.setdefault(library.id_to_piece(index), len(ids))
        ids["<pad>"] = len(ids)
        (folder / "vocab.json").write_text(json.dumps(ids), "utf-8")
        library = MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")))
        special = {name: ids[name] for name in ("</s>", "<unk>", "<pad>")}
        parsed = ("</s>", "<unk>", "<pad>")
        return Text(lambda text: library(text, add_special_tokens=False)["input_ids"], special, len(ids), parsed)

    return Vocabulary("`source.spm`, `target.spm`, `vocab.json`", write)


def unigram_json(extra: int = 0) -> Vocabulary:
    """Return spiece.model and the tokenizer.json of T5."""

    def write(folder: Path) -> Text:
        data = _trained(400, json.dumps(T5_PIECES))
        (folder / "spiece.model").write_bytes(data)
        library = sentencepiece.SentencePieceProcessor(model_proto=data)
        scores = [(library.id_to_piece(index), library.get_score(index)) for index in range(library.vocab_size())]
        names = [f"<extra_id_{index}>" for index in range(extra)]
        scores += [(name, 0.0) for name in reversed(names)]
        made = tokenizers.Tokenizer(models.Unigram(scores, unk_id=2))
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
        made.decoder = decoders.Metaspace("▁", "always")
        return _save(made, folder, ["<pad>", "</s>", "<unk>", *names], (), ["</s>"])

    return Vocabulary("`spiece.model`, `tokenizer.json`", write)


T5_PIECES: dict[str, Any] = {
    "model_type": "unigram",
    "byte_fallback": False,
    "pad_id": 0,
    "eos_id": 1,
    "unk_id": 2,
    "bos_id": -1,
}
