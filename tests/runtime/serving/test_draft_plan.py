"""Draft plans: proposals against those of a fresh state, answers against those without, and refusals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from archc.compiler.build import build
from archc.runtime.engine import Engine, load
from archc.runtime.errors import EngineError
from archc.runtime.generation.draft_plan import Drafter
from archc.runtime.generation.draft_speculation import OneSequence
from archc.runtime.generation.guesses import Draft, Guess
from archc.runtime.generation.options import SamplingOptions
from archc.runtime.generation.proposals import Asked
from archc.runtime.generation.sampling import Floats, Sampler
from archc.runtime.serving.job import Event, Failed, Finished
from archc.runtime.serving.service import Service, ServiceOptions
from tests.runtime.serving.conftest import EXAMPLE

SIZES: dict[str, tuple[str, dict[str, object]]] = {
    "kv": (
        "llama",
        {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
    ),
    "ring": (
        "mistral",
        {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "sliding_window": 6,
        },
    ),
    "recurrent": ("mamba", {"hidden_size": 16, "num_hidden_layers": 1, "tie_word_embeddings": "false"}),
    "hybrid": (
        "jamba",
        {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "mamba_dt_rank": 2,
        },
    ),
}
VOCAB = 20


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a random model of each kind of state."""
    folder = tmp_path_factory.mktemp("kinds")

    def make(kind: str) -> Path:
        spec, sizes = SIZES[kind]
        sets = [f"{name}={value}" for name, value in {"vocab_size": VOCAB, **sizes}.items()]
        path: Path = build(
            spec,
            out=folder / f"{kind}.plan",
            random=1,
            overrides=sets,
            max_seq_len=None if kind == "recurrent" else 256,
        )
        return path

    return {kind: make(kind) for kind in SIZES}


class Checked(Drafter):
    """A drafter whose logits are compared with those of an engine that reads all tokens anew."""

    engine: Engine
    proposals = 0

    def propose(self, asked: Mapping[int, Asked]) -> dict[int, Draft]:
        drafts = super().propose(asked)
        Checked.proposals += sum(map(bool, drafts.values()))
        return drafts

    def _append(self, ids: Mapping[int, Sequence[int]]) -> Mapping[int, Floats]:
        found = super()._append(ids)
        for key, logits in found.items():
            expected = self.engine.logits([self._known[key].tokens])[0, -1]
            assert np.abs(logits - expected).max() < 1e-4
        return found


@contextmanager
def some_wrong(every: int) -> Iterator[None]:
    """Replace one of a number of proposed tokens by another one."""
    count = itertools.count()
    guess = Sampler.guess

    def wrong(self: Sampler, logits: Floats) -> Guess:
        token = guess(self, logits).token
        return Guess((token + 1) % VOCAB if every and next(count) % every == 0 else token)

    with patch.object(Sampler, "guess", wrong):
        yield


GREEDY: dict[str, Any] = {"max_new_tokens": 40, "ignore_eos": True, "defaults": False}


@pytest.mark.parametrize("kind", SIZES)
def test_proposals_are_those_of_a_fresh_state(plans: dict[str, Path], kind: str) -> None:
    Checked.engine = engine = load(plans[kind], threads=1, draft=plans[kind])
    expected = engine.generate([[1, 2, 3]], speculate="off", **GREEDY)
    for every in (0, 1, 3, 7):
        Checked.proposals = 0
        with some_wrong(every), patch("archc.runtime.generation.draft_speculation.Drafter", Checked):
            assert engine.generate([[1, 2, 3]], speculate=4, **GREEDY) == expected
        # Of 40 tokens, the prefill yields one and a call up to five, if all proposals are accepted.
        assert Checked.proposals == 8 if every == 0 else Checked.proposals > 8
    engine.close()


def answers(service: Service, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    """Return the answers to prompts that are computed together."""
    settings = service.settings(SamplingOptions.from_keywords(options), defaults=False)
    queues = [SimpleQueue[Event]() for _ in prompts]
    service.submit(
        [service.job(ids, settings, queue.put, has_text=False) for ids, queue in zip(prompts, queues, strict=True)]
    )
    found = []
    for queue in queues:
        while not isinstance(event := queue.get(timeout=60), Finished | Failed):
            continue
        assert isinstance(event, Finished), event
        found.append(list(event.ids))
    return found


@pytest.mark.parametrize("kind", SIZES)
def test_sequences_of_a_service_have_proposals_of_a_fresh_state(plans: dict[str, Path], kind: str) -> None:
    plan = plans[kind]
    prompts = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 3, 5], [7] * 9]
    options = {"max_new_tokens": 16, "ignore_eos": True}
    Checked.engine = engine = load(plan, threads=1)
    Checked.proposals = 0
    expected = [engine.generate([ids], speculate="off", defaults=False, **options)[0] for ids in prompts]
    with patch("archc.runtime.serving.service.Drafter", Checked):
        service = Service(plan, ServiceOptions(slots=3, threads=1, draft=plan))
    with some_wrong(5):
        assert answers(service, prompts, speculate=3, **options) == expected
        # The next turn begins with the tokens of another one.
        turn = [*prompts[0], *expected[0], 2]
        again = answers(service, [turn], speculate=3, **options)
    service.close()
    assert again == engine.generate([turn], speculate="off", defaults=False, **options)
    assert Checked.proposals > 12
    assert 0 < service.statistics.accepted_tokens < service.statistics.proposed_tokens
    engine.close()


@pytest.fixture(scope="module")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plan of the example checkpoint with int4 weights."""
    path: Path = build("qwen2", weights=EXAMPLE, out=tmp_path_factory.mktemp("int4") / "small.plan", quantize="int4")
    return path


@pytest.fixture(scope="module")
def drafted(trained_path: Path, small_path: Path) -> Iterator[Engine]:
    """Return an engine with a draft plan."""
    engine = load(trained_path, threads=1, draft=small_path)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.9, "top_p": 0.95, "seed": 3}, {"repetition_penalty": 1.3}, {"stop": "the"}],
    ids=["greedy", "seeded", "penalty", "stop"],
)
@pytest.mark.parametrize("speculate", ["auto", 5])
def test_texts_are_those_without_a_draft(
    trained: Engine, drafted: Engine, options: dict[str, Any], speculate: Any
) -> None:
    for prompt in ("Once upon a time", "37+85="):
        expected = trained.stream(prompt, max_new_tokens=40, speculate="off", **options)
        found = drafted.stream(prompt, max_new_tokens=40, speculate=speculate, **options)
        assert "".join(found) == "".join(expected)
        assert (found.ids, found.finish_reason) == (expected.ids, expected.finish_reason)


def test_most_tokens_of_the_same_weights_in_fewer_bits_are_accepted(trained_path: Path, small_path: Path) -> None:
    service = Service(trained_path, ServiceOptions(slots=2, threads=1, draft=small_path, draft_tokens=4))
    assert service.tokenizer is not None
    ids = service.tokenizer.encode("Once upon a time")
    answers(service, [ids, ids[:-1]], max_new_tokens=60, speculate=4, temperature=0.7)
    service.close()
    statistics = service.statistics
    assert statistics.accepted_tokens > 0.6 * statistics.proposed_tokens > 20


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "tags": {"enum": ["a", "b"]},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
STRUCTURES: dict[str, dict[str, Any]] = {
    "schema": {"json_schema": SCHEMA},
    "regex": {"regex": r"(Tom|Anna) had \d{2,4} red balls?\."},
    "grammar": {"grammar": 'start: ("The " animal " sleeps. ")+\nanimal: "cat" | "dog"\n'},
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("speculate", [6, "auto"])
def test_structured_texts_are_those_without_proposals(
    trained: Engine, drafted: Engine, name: str, speculate: Any
) -> None:
    for temperature in (0.0, 1.2):
        options = {"max_new_tokens": 60, "temperature": temperature, "seed": 5, **STRUCTURES[name]}
        expected = "".join(trained.stream('{"name": "Tom", "age": 3', speculate="off", **options))
        for engine in (trained, drafted):
            assert "".join(engine.stream('{"name": "Tom", "age": 3', speculate=speculate, **options)) == expected


def test_a_structure_limits_proposals_too(drafted: Engine) -> None:
    """A draft without the rule would propose other texts, all of which would be refused."""
    assert drafted.speculation is not None
    noted = list[tuple[int, int]]()
    opened = drafted.speculation.open

    def watched(speculate: Any) -> Any:
        speculator = opened(speculate)
        assert speculator is not None
        speculator.note = lambda *pair: noted.append(pair)  # type: ignore[method-assign]
        return speculator

    with patch.object(drafted.speculation, "open", watched):
        text = "".join(drafted.stream("Once", regex="(xy){12}", max_new_tokens=60, speculate=4))
    assert text == "xy" * 12
    assert sum(accepted for _, accepted in noted) >= 0.9 * sum(proposed for proposed, _ in noted) > 0


def test_the_state_of_structured_requests_in_a_service(trained: Engine, trained_path: Path, small_path: Path) -> None:
    service = Service(trained_path, ServiceOptions(slots=2, threads=1, draft=small_path))
    assert service.tokenizer is not None
    ids = service.tokenizer.encode("Once")
    for structure in STRUCTURES.values():
        options = {"max_new_tokens": 60, "ignore_eos": False, **structure}
        expected = trained.generate([ids], speculate="off", defaults=False, **options)
        assert answers(service, [ids, ids], speculate=3, **options) == expected * 2
    service.close()


def test_plans_that_do_not_fit(
    trained_path: Path, plans: dict[str, Path], encoder_path: Path, small_path: Path
) -> None:
    small = plans["kv"]
    with pytest.raises(
        EngineError, match=r"small.plan: expected the vocabulary of .*, 20 tokens, got 10\d\d; use a small"
    ):
        load(small, threads=1, draft=small_path)
    with pytest.raises(EngineError, match=r"expected two decoders, and .* is an encoder; leave out the draft"):
        Service(small, ServiceOptions(draft=encoder_path))
    with pytest.raises(EngineError, match="draft_tokens: expected a number from 1 to 64, got 65"):
        load(trained_path, threads=1, draft=small_path, draft_tokens=65)
    with pytest.raises(
        EngineError, match="cannot take tokens back; leave out the draft, or build with --target ort-cpu"
    ):
        load(trained_path, threads=1, draft=_changed(small_path, lambda manifest: manifest["limits"].pop("max_call")))


def test_other_tokens(trained_path: Path, small_path: Path) -> None:
    def swapped(entries: dict[str, bytes]) -> None:
        name = "tokenizer/tokenizer.json"
        entries[name] = entries[name].replace(b"<|user|>", b"<|uses|>")

    with pytest.raises(
        EngineError, match=r"the tokenizer has other tokens than that of .*; use a smaller model of the"
    ):
        load(trained_path, threads=1, draft=_changed(small_path, entries=swapped))


def _changed(path: Path, manifest: Any = lambda manifest: None, entries: Any = lambda entries: None) -> Path:
    """Write a plan again with another manifest or other entries."""
    import json

    from msgspec import convert

    from archc.plan import Manifest, Plan, PlanWriter

    with Plan(path) as plan:
        content = {name: plan.read(name) for name in plan.names}
    fields = json.loads(content.pop("manifest.json"))
    manifest(fields)
    entries(content)
    with PlanWriter(path.with_name("changed.plan")) as writer:
        for name, data in content.items():
            writer.add(name, data)
        return writer.finish(convert({**fields, "entries": {}}, Manifest))


def test_a_draft_shares_the_limit_of_cache_memory(trained_path: Path, small_path: Path) -> None:
    limit = 3 << 20
    service = Service(trained_path, ServiceOptions(slots=2, threads=1, draft=small_path, cache_bytes=limit))
    assert service.scheduler is not None
    assert service.tokenizer is not None
    ids = service.tokenizer.encode("Once upon a time")
    assert [len(found) for found in answers(service, [ids, ids], max_new_tokens=200, ignore_eos=True)] == [200, 200]
    own = service.scheduler.slots.states
    assert own._limit is not None
    assert own.bytes_at(own.capacity) <= own._limit <= limit * 0.55
    service.close()


def test_without_room_in_the_draft_plan_nothing_is_proposed(plans: dict[str, Path], tmp_path: Path) -> None:
    short = _changed(plans["kv"], lambda manifest: manifest["limits"].__setitem__("max_seq_len", 20))
    engine, alone = load(plans["kv"], threads=1, draft=short), load(plans["kv"], threads=1)
    assert engine.generate([[1, 2]], speculate=4, **GREEDY) == alone.generate([[1, 2]], speculate="off", **GREEDY)
    states = OneSequence(lambda: alone.sequences(1))
    states.append({0: [1]})
    states.clear(0)
    assert states.append({0: [1, 2]})[0].shape == (VOCAB,)
