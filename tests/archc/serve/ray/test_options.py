from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archc.error import Error
from archc.serve.ray.options import parse_options


def test_arguments_may_be_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARCHC_API_KEY", "secret")
    options = parse_options(
        {"plan": "a.plan,b=c.plan", "slots": "4", "cpus": "2", "cache_memory": "1M", "max_replicas": "3", "cors": "x,y"}
    )
    assert options.plans == [f"{tmp_path}/a.plan", f"b={tmp_path}/c.plan"]
    serving = options.serving
    assert (serving.service.slots, serving.service.threads, serving.service.cache_bytes) == (4, 2, 1 << 20)
    assert (serving.api_key, serving.cors) == ("secret", ("x", "y"))
    assert (serving.max_body, serving.max_memory) == (8 << 20, None)
    assert (options.min_replicas, options.max_replicas) == (1, 3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "archc.serve.ray:app: object missing required field `plan`; see docs/deploy.md"),
        ({"plan": "a", "slot": 1}, "unknown field `slot`"),
        ({"plan": "a", "slots": "0"}, ">= 1"),
        ({"plan": "a", "slots": "many"}, "slots"),
        ({"plan": "a", "min_replicas": 2}, "max_replicas: expected at least min_replicas, 2"),
        ({"plan": "a", "max_body": "0"}, "max_body: expected a size"),
    ],
    ids=["no plan", "unknown", "too small", "no number", "fewer at most", "no size"],
)
def test_wrong_arguments_are_errors(args: dict[str, Any], message: str) -> None:
    with pytest.raises(Error) as error:
        _ = parse_options(args).serving
    assert message in str(error.value)
