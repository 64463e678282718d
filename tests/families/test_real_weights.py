"""Trained weights: the plan of examples/tiny-qwen2 against transformers' Qwen2ForCausalLM and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2ForCausalLM

from archc.compiler.build import build
from archc.proof.checks import TOLERANCE, difference
from archc.runtime.engine import Engine, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "tiny-qwen2"
TEXTS = [
    "Once upon a time, there was a kind dog named Milo who lived at the edge of a green forest. One day, Milo and",
    "17+25=",
    "A short one, with a few more words.",
    "Wie schnell läuft das auf zwei Kernen? 3×7 → “21” …",
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    loaded = load(build(EXAMPLE, out=tmp_path_factory.mktemp("example") / "engine.plan"), threads=1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def reference() -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM.from_pretrained(EXAMPLE, dtype=torch.float32, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(EXAMPLE)


def test_logits_equal_those_of_transformers(
    engine: Engine, reference: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [tokenizer(text).input_ids for text in TEXTS]
    assert len({len(row) for row in rows}) == len(rows)
    logits = engine.logits(rows)
    for index, row in enumerate(rows):
        with torch.no_grad():
            alone = reference(torch.tensor([row])).logits[0].numpy()
        assert difference(logits[index, : len(row)], alone) < TOLERANCE


def test_greedy_tokens_equal_those_of_transformers(
    engine: Engine, reference: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [tokenizer(text).input_ids for text in TEXTS[:2]]
    generated = engine.generate(rows, max_new_tokens=32)
    for row, tokens in zip(rows, generated, strict=True):
        alone = reference.generate(torch.tensor([row]), max_new_tokens=32, do_sample=False)[0, len(row) :].tolist()
        # The reference appends the end token; a plan stops in front of it.
        assert tokens == alone[: len(alone) - (alone[-1] == tokenizer.eos_token_id)]
    assert tokenizer.decode(generated[1], skip_special_tokens=True) == "42"


@pytest.mark.parametrize("text", TEXTS, ids=["story", "sum", "sentence", "unicode"])
def test_text_is_encoded_as_by_transformers(engine: Engine, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode(text)
    assert ids == tokenizer(text).input_ids
    assert engine.tokenizer.decode(ids) == tokenizer.decode(ids)
