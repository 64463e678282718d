"""Messages about a prompt that is too long for a plan: a longer plan is named as far as a build allows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.runtime.engine import Engine, load
from archc.runtime.errors import PromptError
from tests.archc.conftest import SMALL_BERT

LLAMA = [
    "vocab_size=60",
    "hidden_size=32",
    "intermediate_size=48",
    "num_hidden_layers=1",
    "num_attention_heads=2",
    "max_position_embeddings=40",
]
DYNAMIC = ["position.scaling={kind: dynamic, factor: 2.0, original_max_position_embeddings: 40}", *LLAMA]
T5 = ["vocab_size=60", "d_model=24", "d_kv=6", "d_ff=32", "num_layers=1", "num_heads=4", "n_positions=40"]
BART = [
    "vocab_size=60",
    "d_model=32",
    "encoder_layers=1",
    "encoder_attention_heads=2",
    "encoder_ffn_dim=48",
    "max_position_embeddings=40",
]
Call = Callable[[Engine, list[int]], object]


def continue_sequence(engine: Engine, ids: list[int]) -> object:
    sequence = engine.sequences(1)
    sequence.append([ids[:-1]], logits="none")
    return sequence.append([ids[-1:]])


def generate(engine: Engine, ids: list[int]) -> object:
    return engine.generate(ids, 4)


def score(engine: Engine, ids: list[int]) -> object:
    return engine.logits(ids)


def encode(engine: Engine, ids: list[int]) -> object:
    return engine.encode(ids)


def score_target(engine: Engine, ids: list[int]) -> object:
    return engine.logits([[1]], decoder_ids=[ids])


SHORT = "shorten it, or build with --max-seq-len up to {}$"
LONGEST = "shorten it, because the maximum of this model is {}"
RESTART = "start a new sequence, because the maximum of this model is {}"
# family, overrides, --max-seq-len, the call and its length, the advice, and the longest plan of a build
CASES: dict[str, tuple[str, list[str], int | None, Call, int, str, int]] = {
    "prompt of a decoder": ("llama", LLAMA, 24, generate, 24, SHORT, 40),
    "prompt of a whole decoder": ("llama", LLAMA, None, generate, 40, LONGEST, 40),
    "ids of a decoder": ("llama", LLAMA, 24, score, 25, SHORT, 40),
    "ids of a whole decoder": ("llama", LLAMA, None, score, 41, LONGEST, 40),
    "sequence of a whole decoder": ("llama", LLAMA, None, continue_sequence, 41, RESTART, 40),
    "scaled positions": ("llama", DYNAMIC, None, generate, 40, SHORT, 2**20),
    "encoder": ("bert", SMALL_BERT, 24, encode, 25, SHORT, 40),
    "whole encoder": ("bert", SMALL_BERT, None, encode, 41, LONGEST, 40),
    "source with relative positions": ("t5", T5, None, encode, 41, SHORT, 2**20),
    "target with relative positions": ("t5", T5, None, score_target, 41, SHORT, 2**20),
    "source with a table": ("bart", BART, None, encode, 41, LONGEST, 40),
    "target with a table": ("bart", BART, 24, score_target, 25, SHORT, 40),
}


@pytest.mark.parametrize(
    ("family", "overrides", "length", "call", "tokens", "advice", "longest"), CASES.values(), ids=CASES
)
def test_the_advice_is_one_that_a_build_accepts(
    family: str,
    overrides: list[str],
    length: int | None,
    call: Call,
    tokens: int,
    advice: str,
    longest: int,
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"out": tmp_path / "engine.plan", "random": 0, "overrides": overrides}
    engine = load(build(family, max_seq_len=length, **options), threads=1)
    with pytest.raises(PromptError, match=f"got {tokens}; {advice.format(longest)}"):
        call(engine, [1] * tokens)
    engine.close()
    with pytest.raises(BuildError, match=f"expected 1 to {longest}"):
        build(family, max_seq_len=longest + 1, **options)
    if length is None and longest > tokens:
        engine = load(build(family, max_seq_len=tokens + 1, **options), threads=1)
        call(engine, [1] * tokens)
        engine.close()
