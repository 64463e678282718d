"""Arguments of the application on Ray Serve."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from archc.error import Error
from archc.runtime.serving.scheduler import Budget
from archc.runtime.serving.service import ServiceOptions
from archc.serve.options import ServeOptions
from archc.serve.sizes import parse_size

_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class RayOptionsError(Error):
    """An argument of the application that is not valid."""


class RayOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments by name. Those of `archc serve` have its names; `plan` and `cors` are lists separated by commas.

    `target` is the number of requests at a replica past which another one starts, `drain` the seconds that a replica
    has for its requests when it ends, `attempts` the replicas that a request is sent to if they die.
    """

    plan: str
    slots: _AtLeastOne = 8
    queue: Annotated[int, msgspec.Meta(ge=0)] = 64
    threads: _AtLeastOne | None = None
    cache_memory: str | None = None
    max_memory: str | None = None
    max_body: str = "8M"
    timeout: _Positive | None = None
    prefill_tokens: _AtLeastOne = 64
    cors: str = ""
    min_replicas: _AtLeastOne = 1
    max_replicas: _AtLeastOne = 1
    target: _Positive | None = None
    cpus: _Positive | None = None
    gateways: _AtLeastOne = 1
    drain: _Positive = 600
    health_period: _Positive = 10
    health_timeout: _Positive = 30
    attempts: _AtLeastOne = 3

    def __post_init__(self) -> None:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas: expected at least min_replicas, {self.min_replicas}; raise it")

    @property
    def plans(self) -> list[str]:
        """Return the plans, each a PATH or NAME=PATH; relative paths are those of the process that deploys."""
        return [_absolute(text) for text in self.plan.split(",") if text]

    @property
    def computing_threads(self) -> int:
        """Return the threads of a replica; `cpus` reserves as many unless it says otherwise."""
        return self.threads or max(1, round(self.cpus or 1))

    @property
    def serving(self) -> ServeOptions:
        """Return the options of a replica. The API key is that of the variable ARCHC_API_KEY."""
        service = ServiceOptions(
            slots=self.slots,
            queue=self.queue,
            cache_bytes=_size(self.cache_memory, "cache_memory"),
            threads=self.computing_threads,
            budget=Budget(beside_steps=self.prefill_tokens),
        )
        return ServeOptions(
            service=service,
            timeout=self.timeout,
            api_key=os.environ.get("ARCHC_API_KEY") or None,
            cors=tuple(origin for origin in self.cors.split(",") if origin),
            max_body=parse_size(self.max_body, "max_body"),
            max_memory=_size(self.max_memory, "max_memory"),
        )


def parse_options(args: Mapping[str, Any]) -> RayOptions:
    """Return the options; numbers may be texts, as on the command line. Raises RayOptionsError."""
    try:
        return msgspec.convert(dict(args), RayOptions, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        raise RayOptionsError(f"archc.serve.ray:app: {message[:1].lower()}{message[1:]}; see docs/deploy.md") from None


def _size(text: str | None, name: str) -> int | None:
    return None if text is None else parse_size(text, name)


def _absolute(text: str) -> str:
    """Return PATH or NAME=PATH with an absolute path, because replicas have other working directories."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return str(Path(text).absolute())
    return f"{name}={Path(path).absolute()}"
