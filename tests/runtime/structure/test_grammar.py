"""Grammars: outputs of the example's plan are valid, and grammars that explode are refused."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from archc import build, load
from archc.runtime import Engine, PromptError, SamplingOptions
from archc.runtime.structure import grammar as module
from archc.runtime.structure.grammar import Grammar, GrammarCompiler

TINY = Path(__file__).parents[3] / "examples" / "tiny-qwen2"
END = 1020  # <|endoftext|>


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    loaded = load(build("qwen2", weights=TINY, out=tmp_path_factory.mktemp("tiny") / "p"), threads=1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    definition = (TINY / "tokenizer.json").read_text("utf-8")
    return GrammarCompiler(definition, 1034, [END])


def schema_of(random: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    """Return a random schema whose valid values are short."""
    kind = random.choice(["string", "integer", "boolean", "enum", "const", "pattern", "object", "array", "any"])
    if depth > 2 and kind in ("object", "array", "any"):
        kind = "boolean"
    if kind == "string":
        return {"type": "string", "minLength": int(random.integers(3)), "maxLength": int(random.integers(3, 9))}
    if kind == "integer":
        low = int(random.integers(-50, 50))
        return {"type": "integer", "minimum": low, "maximum": low + int(random.integers(90))}
    if kind == "enum":
        return {"enum": [["a", 1], {"é": None}, 2.5, "it's \"", None][: int(random.integers(1, 6))]}
    if kind == "const":
        return {"const": {"x": [True, "é"]}}
    if kind == "pattern":
        return {"type": "string", "pattern": "^[a-f]{2,4}(-[0-9]{1,2})?$"}
    if kind == "array":
        low = int(random.integers(3))
        return {"type": "array", "items": schema_of(random, depth + 1), "minItems": low, "maxItems": low + 1}
    if kind == "any":
        return {"anyOf": [schema_of(random, depth + 1) for _ in range(2)]}
    if kind == "object":
        names = ["a", "b b", "ç", 'd"'][: int(random.integers(1, 5))]
        properties = {name: schema_of(random, depth + 1) for name in names}
        required = [name for name in names if random.random() < 0.6]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {"type": "boolean"}


@pytest.mark.parametrize("seed", range(40))
def test_outputs_are_valid_under_random_schemas(engine: Engine, seed: int) -> None:
    schema = schema_of(np.random.default_rng(seed))
    for temperature in (0.0, 1.5):
        stream = engine.stream("Once", json_schema=schema, max_new_tokens=400, temperature=temperature, seed=seed)
        text = "".join(stream)
        assert stream.finish_reason == "eos", text
        jsonschema.validate(json.loads(text), schema)


def test_outputs_match_expressions_and_grammars(engine: Engine) -> None:
    text = "".join(engine.stream("Once", regex=r"[a-c]{3}é\d{2}x", max_new_tokens=50))
    assert re.fullmatch(r"[a-c]{3}é\d{2}x", text)
    start = 'start: "The " animal " sleeps."\nanimal: "cat" | "dog"\n'
    text = "".join(engine.stream("Once", grammar=start, max_new_tokens=50))
    assert text in ("The cat sleeps.", "The dog sleeps.")
    rows = engine.generate([[1, 2], [3, 4, 5]], regex="[01]{8}", max_new_tokens=50)
    assert engine.tokenizer is not None
    assert all(re.fullmatch("[01]{8}", engine.tokenizer.decode(row)) for row in rows)


_REFUSED = "too large|too big|limit|size|not compiled within 1.5 seconds"  # on a busy machine, time ends first
ANY = [{"anyOf": [{"properties": {f"k{i}{j}": {"type": "integer"}}} for j in range(8)]} for i in range(8)]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"allOf": ANY}, _REFUSED),
        ({"properties": {f"p{i}": {} for i in range(6000)}}, _REFUSED),
        ({"enum": [f"value {i}" for i in range(100_000)]}, "expected at most 131,072 characters"),
    ],
    ids=["products", "properties", "characters"],
)
def test_schemas_that_explode_are_refused_in_time(
    compiler: GrammarCompiler, schema: dict[str, Any], message: str
) -> None:
    begin = time.perf_counter()
    with pytest.raises(PromptError, match=message):
        walk(compiler, Grammar.from_schema(schema))
    assert time.perf_counter() - begin < 2


def walk(compiler: GrammarCompiler, grammar: Grammar) -> list[int]:
    """Return the tokens of a sentence, chosen at random."""
    constraint, random, tokens = compiler.constraint(grammar), np.random.default_rng(0), list[int]()
    while not tokens or tokens[-1] != END:
        tokens.append(int(constraint.apply(random.normal(size=1034).astype(np.float32)).argmax()))
        constraint.accept(tokens[-1])
    return tokens


def test_a_compilation_past_its_time_is_refused(compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "_compile", lambda grammar: time.sleep(0.3))
    with pytest.raises(PromptError, match=r"regex: not compiled within 0.05 seconds; simplify it"):
        compiler.constraint(Grammar("regex", "slow"), seconds=0.05)
    monkeypatch.setattr(module, "_compiling", module.threading.BoundedSemaphore(1))
    assert module._compiling.acquire(timeout=0)
    with pytest.raises(PromptError, match="regex: other grammars are being compiled; repeat the request later"):
        compiler.constraint(Grammar("regex", "slower"), seconds=0.05)


def test_end_tokens_come_only_at_the_end(compiler: GrammarCompiler) -> None:
    constraint = compiler.constraint(Grammar("regex", "a{2}"))
    logits = np.zeros(1034, np.float32)
    logits[END] = 9
    seen = []
    while not np.isfinite(constraint.apply(logits)[END]):
        token = int(constraint.apply(logits).argmax())
        seen.append(token)
        constraint.accept(token)
    assert seen
    assert np.flatnonzero(np.isfinite(constraint.apply(logits))).tolist() == [END]
    with pytest.raises(PromptError, match="regex: "):
        constraint.accept(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regex": "(a"}, "regex: .*unclosed group"),
        ({"grammar": "start: x"}, "grammar: .*unknown name"),
        ({"json_schema": {"type": "x"}}, "json_schema: Invalid type: x"),
        ({"json_schema": "{"}, "json_schema: not JSON"),
        ({"json_schema": "[1]"}, "json_schema: expected an object, got list"),
        ({"json_schema": {"x": {1, 2}}}, "json_schema: not representable as JSON"),
        ({"regex": ""}, "regex: expected a text that is not empty"),
        ({"regex": "a", "grammar": "b"}, "regex: contradicts grammar; remove one"),
        ({"regex": "a", "ignore_eos": True}, "regex: contradicts ignore_eos"),
        ({"regex": "a", "num_beams": 2}, "regex: not supported by beam search"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_invalid_grammars_are_explained(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        engine.stream("Once", options=SamplingOptions(**options))


def test_a_tokenizer_without_end_tokens_is_refused() -> None:
    with pytest.raises(PromptError, match="grammar: the plan has no end-of-sequence token"):
        GrammarCompiler("{}", 10, [])
    with pytest.raises(PromptError, match="grammar: llguidance does not support the plan's tokenizer"):
        GrammarCompiler("{}", 10, [1])
