"""The page at /: its policy, the facts that it shows, and a conversation in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from archc.plan import Plan, State
from archc.runtime.serving.service import ServiceOptions
from archc.serve.architecture import architecture
from archc.serve.options import ServeOptions
from tests.archc.serve.browser import Tab, find_browser, opened
from tests.archc.serve.conftest import Running

BROWSER = find_browser()
LOG = "document.getElementById('log')"


def test_the_page_is_one_file_with_a_strict_policy(server: Running) -> None:
    with server.http as http:
        answer = http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert re.findall(r"(script|style)-src 'sha256-\S{44}'", policy) == ["style", "script"]
    assert not re.search(r"https?://|src=|<link|@import|url\(", answer.text)
    assert len(answer.content) < 32_000


def test_the_page_needs_no_key_but_its_requests_do(qwen: Path, serving: Callable[..., Any]) -> None:
    options = ServeOptions(ServiceOptions(slots=1, threads=1), api_key="secret")
    with serving([str(qwen)], options) as locked, locked.http as http:
        assert http.get("/").status_code == 200
        assert http.get("/v1/models").status_code == 401


def test_a_model_has_its_architecture(server: Running) -> None:
    with server.http as http:
        answer = http.get("/v1/models/tiny").json()
    assert (answer["loaded"], answer["chat"], answer["meta"]["family"]) == (True, True, "qwen2")
    plan = answer["architecture"]
    assert plan["config"]["num_hidden_layers"] == len(plan["layers"]) == 5
    for layer in plan["layers"]:
        assert (layer["mixer"], layer["window"]) == ("attention", None)
        assert layer["bytes"]["mlp"] == 3 * 128 * 128 * 4
        assert [state["name"] for state in layer["state"]] == ["key", "value"]
        assert layer["state"][0]["shape"] == ["batch", 2, "capacity", 32]
    assert plan["state_bytes_per_token"] == 5 * 2 * 2 * 32 * 4
    inside = sum(sum(layer["bytes"].values()) for layer in plan["layers"])
    assert inside + sum(plan["other_bytes"].values()) == plan["weight_bytes"] == answer["meta"]["parameters"] * 4
    assert plan["masks"] == [{"kind": "causal", "window": None}]


def test_mixers_are_named_by_their_state(qwen: Path, bert: Path) -> None:
    def state(layer: int, name: str, kind: str, **more: Any) -> State:
        fields = {"input": f"past_key_values.{layer}.{name}", "output": f"present.{layer}.{name}", "dtype": "float32"}
        return msgspec.convert({**fields, "kind": kind, "shape": ["batch", 4], **more}, State)

    with Plan(qwen) as plan:
        manifest = plan.manifest
    states = (
        state(0, "latent", "kv"),
        state(1, "key", "ring", window=100),
        state(1, "value", "ring", window=100),
        state(2, "conv", "fixed"),
        state(3, "key", "kv"),
        state(3, "value", "kv"),
        state(3, "filter", "fixed"),
    )
    limits = msgspec.structs.replace(manifest.limits, max_call=64)
    layers = architecture(msgspec.structs.replace(manifest, state=states, limits=limits, packed=None))["layers"]
    expected = ["latent attention", "sliding-window attention", "recurrence", "attention", "other"]
    assert [layer["mixer"] for layer in layers] == expected
    assert [layer["window"] for layer in layers] == [None, 100, None, None, None]
    with Plan(bert) as plan:
        encoder = architecture(plan.manifest)
    assert [layer["mixer"] for layer in encoder["layers"]] == ["bidirectional attention"] * 2


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    assert BROWSER is not None
    with opened(BROWSER, tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_conversation_in_a_browser(server: Running, tab: Tab) -> None:
    tab.size(1100, 700)
    tab.open(server.url)
    tab.wait("document.querySelectorAll('.layers button').length === 5")
    assert tab.evaluate("document.getElementById('model').value") == "tiny"
    assert "5 × attention" in tab.evaluate("document.querySelector('.legend').innerText")

    def ask(text: str) -> str:
        tab.evaluate("document.getElementById('text').focus()")
        tab.type(text)
        tab.press("Enter", 13)
        tab.wait("!running")
        shown: str = tab.evaluate(f"{LOG}.lastElementChild.querySelector('.text').innerText")
        return shown

    assert ask("What is 12+30?") == "42"
    figures = tab.evaluate(f"{LOG}.lastElementChild.querySelector('.figures').innerText")
    assert re.fullmatch(r"first token \d+\.\d\d s · 2 tokens · prompt 12, of them \d+ cached", figures)
    # The second question has the first one before it.
    assert ask("What is 37+85?") == "122"
    figures = tab.evaluate(f"{LOG}.lastElementChild.querySelector('.figures').innerText")
    assert int(re.findall(r"prompt (\d+)", figures)[0]) > 20
    assert tab.evaluate(f"{LOG}.children.length") == 4

    tab.evaluate("document.getElementById('mode').value = 'text'; document.getElementById('tokens').value = 12")
    story = ask("Once upon a time")
    figures = tab.evaluate(f"{LOG}.lastElementChild.querySelector('.figures').innerText")
    assert story.strip()
    assert re.search(r"· [\d,]+\.\d tokens/s · 12 tokens ·", figures)

    tab.evaluate("document.querySelector('.layers button').click()")
    assert "Layer 0: attention" in tab.evaluate("document.getElementById('plan').innerText")
    assert tab.problems == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_errors_and_markup_are_text_in_the_browser(server: Running, tab: Tab) -> None:
    tab.open(server.url)
    tab.wait("document.querySelectorAll('.layers button').length === 5")
    tab.evaluate("document.getElementById('temperature').value = '-1'")
    tab.evaluate("document.getElementById('text').focus()")
    tab.type("<img src=x onerror=alert(1)>")
    tab.press("Enter", 13)
    tab.wait(f"!running && {LOG}.querySelector('[role=alert]')")
    assert "temperature: expected a number" in tab.evaluate(f"{LOG}.innerText")
    assert "<img src=x" in tab.evaluate(f"{LOG}.innerText")
    assert tab.evaluate(f"{LOG}.querySelector('img')") is None
    part = {"choices": [{"delta": {"content": "<b>bold</b>"}, "token_ids": [1]}]}
    stream = json.dumps(f"data: {json.dumps(part)}\n\ndata: [DONE]\n\n")
    tab.evaluate(f"window.fetch = async () => new Response({stream}), 0")
    tab.type("Hi")
    tab.press("Enter", 13)
    tab.wait(f"!running && {LOG}.lastElementChild.querySelector('.text').innerText === '<b>bold</b>'")
    assert tab.evaluate("[...document.querySelectorAll('input, select, textarea')].every((each) => each.labels.length)")
    assert [text for text in tab.problems if "status of 400" not in text] == []
