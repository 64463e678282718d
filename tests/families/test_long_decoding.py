"""Two hundred tokens in calls of one, of seven and of random sizes equal one run of the whole sequence.

One case of each kind of state and of each kind of attention scores. The families' own checks use a few tokens; here
rounding errors add up, caches grow several times, tails and chunks meet every alignment, and attention uses the
lowering for long prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from archc.compiler.build import bind, build
from archc.proof.built import Built
from archc.proof.checks import append_all, difference
from archc.runtime.engine import Engine, load
from tests.families.collection import cases_of

TOKENS = 200
CLOSE = 1e-4
# (family, case, overrides for the context length), one for each kind of state or scores.
LONGER = ("max_position_embeddings=256",)
STATES: list[tuple[str, str, tuple[str, ...]]] = [
    ("llama", "grouped", LONGER),
    ("mistral", "window", LONGER),
    ("gemma2", "capped", LONGER),
    ("gpt-oss", "yarn", LONGER),
    ("bloom", "plain", ()),
    ("yuan2", "2b", LONGER),
    ("rwkv4", "original-names", ()),
    ("rwkv5", "hub-names", ()),
    ("rwkv6", "wide-heads", ()),
    ("rwkv7", "unused-paths", ()),
    ("mamba", "biases-untied", ()),
    ("jamba", "experts", LONGER),
    ("deepseek-v2", "groups", ()),
]
HYBRID = Path(__file__).parents[2] / "examples" / "hybrid.yaml"
SMALL = ("hidden_size=48", "num_layers=4", "vocab_size=61", "num_experts=3")


def sizes_of_calls() -> list[list[int]]:
    """Return three ways to split the tokens into calls."""
    sevens = [7] * (TOKENS // 7) + [TOKENS % 7]
    cuts = np.sort(np.random.default_rng(5).choice(np.arange(1, TOKENS), size=12, replace=False))
    return [[1] * TOKENS, sevens, np.diff([0, *cuts, TOKENS]).tolist()]


def check_long_decoding(engine: Engine, ids: Sequence[Sequence[int]]) -> float:
    """Return the largest difference of the logits in calls from those of one call; rows [batch, 200]."""
    whole = engine.logits(ids)
    worst = 0.0
    for sizes in sizes_of_calls():
        worst = max(worst, difference(append_all(engine.sequences(len(ids), 1), ids, sizes), whole))
    return worst


def rows(vocab: int) -> list[list[int]]:
    """Return two random rows."""
    ids: list[list[int]] = np.random.default_rng(4).integers(0, vocab, (2, TOKENS)).tolist()
    return ids


@pytest.fixture(params=STATES, ids=lambda item: "-".join(item[:2]))
def long(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Built, Engine]]:
    family, name, overrides = request.param
    (case,) = (case for case in cases_of(family) if case.name == name)
    built = Built(family, case, tmp_path)
    plan = build(built.spec, built.checkpoint, out=tmp_path / "long.plan", overrides=overrides)
    engine = load(plan, threads=1)
    yield built, engine
    engine.close()


def test_long_decoding(long: tuple[Built, Engine]) -> None:
    built, engine = long
    ids = rows(engine.vocab_size)
    assert check_long_decoding(engine, ids) < CLOSE
    # The run of the whole sequence equals the reference.
    assert difference(engine.logits(ids[:1]), built.reference.outputs(ids[:1])["logits"]) < CLOSE


def test_hybrid_of_attention_recurrence_and_experts(tmp_path: Path) -> None:
    bound = bind(HYBRID, None, None, SMALL)
    assert [layer.attention is not None for layer in bound.layers] == [False, False, True, False]
    assert [layer.mlp.kind for layer in bound.layers] == ["gated", "moe", "gated", "moe"]
    plan = build(HYBRID, random=3, overrides=SMALL, out=tmp_path / "hybrid.plan")
    engine = load(plan, threads=1)
    try:
        assert {state.kind for state in engine.manifest.state} == {"ring", "fixed"}
        assert check_long_decoding(engine, rows(engine.vocab_size)) < CLOSE
    finally:
        engine.close()
