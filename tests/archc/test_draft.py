"""`--draft` of `archc run`, `chat` and `serve`."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from archc.runtime.serving.service import Service, ServiceOptions
from archc.serve.models import Models, ServeError
from archc.serve.options import ServeOptions
from tests.archc.conftest import Archc

GREEDY = ("--max-new-tokens", 12)


def test_run(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    expected = archc("run", qwen, "Once upon", *GREEDY).out
    for more in ((), ("--speculate", 4), ("--draft-tokens", 2), ("--save-cache", tmp_path / "cache")):
        result = archc("run", qwen, "Once upon", *GREEDY, "--draft", qwen, *more)
        assert (result.code, result.out) == (0, expected)


def test_a_file_of_requests(archc: Archc, qwen: Path, tmp_path: Path) -> None:
    requests = tmp_path / "in.jsonl"
    requests.write_text('{"prompt": "37+85=", "max_tokens": 8}\n')
    result = archc("run", qwen, "--batch", requests, "--draft", qwen)
    assert result.code == 0
    assert json.loads(result.out)["response"]["body"]["choices"][0]["text"] == "122"


def test_chat(archc: Archc, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[ServiceOptions]()
    opened = Service.__init__

    def watched(self: Service, path: Path, options: ServiceOptions) -> None:
        seen.append(options)
        opened(self, path, options)

    monkeypatch.setattr(Service, "__init__", watched)
    for more in ((), ("--draft", qwen, "--draft-tokens", 3)):
        text = io.BytesIO(b"What is 37+85?\nWhat is 1+2?\n")
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=text, isatty=lambda: False))
        result = archc("chat", qwen, *more)
        assert (result.code, result.out) == (0, "122\n3\n")
    assert [(options.draft, options.draft_tokens) for options in seen] == [(None, 7), (qwen, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--draft-tokens", "3"], "--draft-tokens has no effect without --draft; remove it"),
        (["--draft", "d", "--speculate", "off"], "--draft has no effect with --speculate off; remove one"),
        (["--draft", "d", "--num-beams", "2"], "--draft has no effect on beam search; remove --num-beams or --draft"),
    ],
    ids=["tokens-alone", "off", "beams"],
)
def test_options_without_effect(archc: Archc, arguments: list[str], message: str) -> None:
    result = archc("run", "engine.plan", "Once", *arguments)
    assert (result.code, result.errors) == (2, [message])


def test_plans_that_do_not_fit(archc: Archc, qwen: Path, small: Path, bert: Path) -> None:
    for draft, message in ((small, "expected the vocabulary of"), (bert, "expected two decoders")):
        for command in (("run", qwen, "Once"), ("serve", qwen), ("run", qwen, "Once", "--save-cache", "no")):
            result = archc(*command, "--draft", draft)
            assert (result.code, result.out) == (2, "")
            assert message in result.errors[0]
    result = archc("run", qwen, "Once", "--draft", "missing.plan")
    assert result.code == 2
    assert "missing.plan" in result.errors[0]


def test_drafts_of_a_server(qwen: Path, small: Path) -> None:
    models = Models([str(qwen), f"other={small}"], ServeOptions(drafts=(f"engine={qwen}", f"other={small}")))
    assert [model.draft for model in models] == [qwen, small]
    assert next(iter(models)).size == 2 * qwen.stat().st_size
    assert [model.draft for model in Models([str(qwen)], ServeOptions(drafts=(str(qwen),)))] == [qwen]
    for plans, drafts, message in (
        ([str(qwen), f"other={small}"], (str(qwen),), "expected NAME=PATH with one of engine, other"),
        ([str(qwen)], (f"big={qwen}",), "'big' is not served; give one of engine"),
        ([str(qwen)], (str(qwen), str(qwen)), "remove one"),
    ):
        with pytest.raises(ServeError, match=message):
            Models(plans, ServeOptions(drafts=drafts))


def test_a_server_loads_the_draft(qwen: Path) -> None:
    models = Models([str(qwen)], ServeOptions(drafts=(str(qwen),)))

    async def load() -> tuple[Path | None, int]:
        service = (await models.acquire(None)).loaded
        path = service.draft.path if service.draft is not None else None
        proposed = service.speculation.most if service.speculation is not None else 0
        await models.close()
        return path, proposed

    assert asyncio.run(load()) == (qwen, 7)
