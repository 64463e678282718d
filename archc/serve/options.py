"""Options of the server."""

from __future__ import annotations

from dataclasses import dataclass, field

from archc.runtime.serving.service import ServiceOptions


@dataclass(frozen=True)
class ServeOptions:
    """Options of the server; `service` are those of each plan.

    `drafts` are the plans that propose tokens, each a PATH, or NAME=PATH for the plan with that name.
    `timeout` is in seconds, `max_body` and `max_memory` in bytes; `max_memory` bounds the sizes of the loaded plans,
    and the limits of their caches.
    """

    service: ServiceOptions = field(default_factory=ServiceOptions)
    drafts: tuple[str, ...] = ()
    timeout: float | None = None
    api_key: str | None = None
    cors: tuple[str, ...] = ()
    max_body: int = 8 << 20
    max_memory: int | None = None
