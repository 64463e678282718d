"""Source and target segmentation of a translation checkpoint, converted and run, against transformers' tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from transformers import MarianTokenizer

from archc.compiler.errors import BuildError
from archc.compiler.text.convert import convert
from archc.compiler.text.settings import TextSettings
from archc.runtime.text.two_vocabularies import TwoVocabularies
from tests.compiler.text.strings import mixture

SENTENCES = {
    "source.spm": ["The small house stands near the river.", "She reads a long letter.", "What is 12 + 30? It is 42."],
    "target.spm": ["La petite maison est près du fleuve.", "Elle lit une longue lettre.", "Combien font 12 + 30 ? 42."],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("translation")
    ids = {"</s>": 0, "<unk>": 1}
    for name, sentences in SENTENCES.items():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences * 20),
            model_prefix=str(path / "m"),
            vocab_size=90,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        (path / "m.model").rename(path / name)
        model = sentencepiece.SentencePieceProcessor(str(path / name))
        for index in range(model.get_piece_size()):
            ids.setdefault(model.id_to_piece(index), len(ids))
    ids["<pad>"] = len(ids)
    (path / "vocab.json").write_text(json.dumps(ids), "utf-8")
    return path


def test_the_ids_of_a_converted_folder_are_those_of_the_reference(folder: Path) -> None:
    reference = MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")))
    files = convert(folder, TextSettings(), print)
    assert files.keys() == {"tokenizer.json", "target.json", "vocab.json"}
    tokenizer = TwoVocabularies(files["tokenizer.json"], files["target.json"], files["vocab.json"])
    # The reference parses special tokens in a text, which archc reads as text, and removes codes of languages.
    texts = [text for text in mixture(count=2200) if "<" not in text and ">>" not in text]
    assert len(texts) > 1500
    wrong = [text for text in texts if tokenizer.encode(text, True, False) != reference(text)["input_ids"]]
    assert wrong == []


def test_a_damaged_segmentation_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("source.spm", "target.spm", "vocab.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "target.spm").write_bytes(b"\x0a\xff\xff")
    with pytest.raises(BuildError, match=r"target\.spm: "):
        convert(tmp_path, TextSettings(), print)
