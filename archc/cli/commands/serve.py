"""`archc serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from archc.cli.commands.generation_options import Speculation
from archc.cli.commands.generation_values import parse_speculate
from archc.cli.commands.options import DRAFT_TOKENS, DraftTokens, Threads, draft_options
from archc.cli.console import UsageError


def serve_command(
    plans: Annotated[
        list[str],
        typer.Argument(metavar="PLAN…", help="engine.plan files, each a PATH or NAME=PATH.", show_default=False),
    ],
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0 takes a free one.")
    ] = 8000,
    slots: Annotated[int, typer.Option("--slots", min=1, max=1024, metavar="N", help="Answers at a time.")] = 8,
    queue: Annotated[
        int, typer.Option("--queue", min=0, metavar="N", help="Answers that wait; more are refused with 429.")
    ] = 64,
    cache_memory: Annotated[
        str | None, typer.Option("--cache-memory", metavar="SIZE", help="Limit of a plan's caches, such as 2G.")
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option("--max-memory", metavar="SIZE", help="Limit of all plans in memory; the least used is unloaded."),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Limit of one request.")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="ARCHC_API_KEY", metavar="KEY", help="Key that requests must have.", show_envvar=True
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", metavar="ORIGIN", help="Origin whose pages may send requests; * is any. Repeatable."),
    ] = None,
    max_body: Annotated[str, typer.Option("--max-body", metavar="SIZE", help="Limit of a request's body.")] = "8M",
    draft: Annotated[
        list[str] | None,
        typer.Option(
            "--draft",
            metavar="PLAN",
            help="Smaller plan that proposes tokens; of several plans NAME=PATH for that with the name. Repeatable.",
        ),
    ] = None,
    draft_tokens: DraftTokens = None,
    speculate: Speculation = None,
    threads: Threads = None,
    prefill_tokens: Annotated[
        int,
        typer.Option("--prefill-tokens", min=1, metavar="N", help="Tokens of a prompt in a step with other answers."),
    ] = 64,
) -> None:
    """Serve plans over HTTP, with the endpoints of OpenAI's API.

    Models have the names of their files without the suffix, or those of NAME=PATH. The first is loaded at the start,
    the others when they are asked for. SIGTERM ends the server after the requests that run.
    """
    from archc.runtime.serving.scheduler import Budget
    from archc.runtime.serving.service import ServiceOptions
    from archc.serve.options import ServeOptions
    from archc.serve.server import serve
    from archc.serve.sizes import parse_size

    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
        raise UsageError("--api-key: expected printable ASCII characters, got none or others; give another key")
    chosen = parse_speculate(speculate)
    drafts = draft_options(draft, draft_tokens, {"speculate": chosen})
    service = ServiceOptions(
        slots=slots,
        queue=queue,
        cache_bytes=_bytes(cache_memory, "--cache-memory"),
        threads=threads,
        budget=Budget(beside_steps=prefill_tokens),
        speculate="auto" if chosen is None else chosen,
        draft_tokens=drafts.get("draft_tokens", DRAFT_TOKENS),
    )
    options = ServeOptions(
        service=service,
        drafts=tuple(draft or ()),
        timeout=timeout,
        api_key=api_key,
        cors=tuple(cors or ()),
        max_body=parse_size(max_body, "--max-body"),
        max_memory=_bytes(max_memory, "--max-memory"),
    )
    if not serve(plans, options, host, port):
        raise KeyboardInterrupt


def _bytes(text: str | None, option: str) -> int | None:
    from archc.serve.sizes import parse_size

    return None if text is None else parse_size(text, option)
