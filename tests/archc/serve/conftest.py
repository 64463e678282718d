"""A server of the trained example in a thread, for real clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import openai
import pytest
import uvicorn
from starlette.types import ASGIApp

from archc import runtime
from archc.compiler.build import build
from archc.runtime.serving.service import ServiceOptions
from archc.serve.app import create_app
from archc.serve.context import Context
from archc.serve.models import Models
from archc.serve.options import ServeOptions
from tests.archc.conftest import TINY

SLOTS, QUEUE = 4, 8


@dataclass
class Running:
    """A server that runs, and clients of it."""

    context: Context
    url: str
    app: ASGIApp

    @property
    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, verify=False)  # reading certificates takes long

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def post(self, path: str, body: object) -> httpx.Response:
        with self.http as http:
            return http.post(path, json=body)

    def wait_until_idle(self, seconds: float = 20) -> None:
        """Wait until no answer has a slot, and no request runs."""
        end = time.monotonic() + seconds
        while self.context.running or any(self._active()):
            assert time.monotonic() < end, "requests still run"
            time.sleep(0.01)

    def _active(self) -> Iterator[bool]:
        for model in self.context.models:
            if model.service is not None and model.service.scheduler is not None:
                scheduler = model.service.scheduler
                yield scheduler.room < scheduler.slots.count + model.service.options.queue


@contextmanager
def running(plans: list[str], options: ServeOptions | None = None) -> Iterator[Running]:
    options = options or ServeOptions(ServiceOptions(slots=SLOTS, queue=QUEUE, threads=1))
    context = Context(Models(plans, options), options)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        app = create_app(context)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server has not started"
                time.sleep(0.01)
            yield Running(context, url, app)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Callable[..., object]:
    return running


@pytest.fixture(scope="session")
def server(qwen: Path) -> Iterator[Running]:
    with running([f"tiny={qwen}"]) as started:
        yield started


@pytest.fixture(scope="session")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose chat template has tools."""
    folder = tmp_path_factory.mktemp("calling")
    shutil.copytree(TINY, folder / "checkpoint")
    template = folder / "checkpoint/chat_template.jinja"
    config = json.loads((folder / "checkpoint/tokenizer_config.json").read_text("utf-8"))
    text = template.read_text("utf-8") if template.is_file() else config["chat_template"]
    template.write_text("{#- <tool_call> </tool_call> -#}" + text, "utf-8")
    plan = build("qwen2", folder / "checkpoint", out=folder / "calling.plan")
    with running([str(plan)]) as server:
        yield server


@pytest.fixture(scope="session")
def engine(qwen: Path) -> Iterator[runtime.Engine]:
    engine = runtime.load(qwen, threads=1)
    yield engine
    engine.close()
