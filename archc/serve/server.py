"""The process of `archc serve`: the socket, signals, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

import uvicorn

from archc.runtime.errors import EngineError
from archc.serve.app import create_app
from archc.serve.context import Context
from archc.serve.errors import ApiError
from archc.serve.models import Models, ServeError
from archc.serve.options import ServeOptions

_BACKLOG = 2048
_IDLE_SECONDS = 75  # clients drop idle connections after 5 to 60; a server that is first resets a request on its way
_LAST_SECONDS = 3  # for connections whose client does not read the end of its answer


def serve(plans: Sequence[str], options: ServeOptions, host: str, port: int) -> bool:
    """Serve plans until a signal; return whether all requests were answered.

    SIGTERM and SIGINT end the server after the requests that run; a second one at once.
    Raises ServeError, EngineError or PlanError if it cannot start.
    """
    models = Models(plans, options)
    with _bind(host, port) as listening:
        return asyncio.run(_serve(Context(models, options), listening))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ServeError(
            f"--host {host}: not an address: {error}; give one of this machine, such as 127.0.0.1"
        ) from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ServeError(f"{host}, port {port}: {error.strerror}; give another --host or --port") from None
    return listening


class _Server(uvicorn.Server):
    """A server that leaves signals to `_Signals`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Signals:
    """Ends a server: at the first signal after its requests, at the second at once."""

    def __init__(self, server: uvicorn.Server, context: Context) -> None:
        self._server, self._context, self.is_forced = server, context, False

    def handle(self, number: int) -> None:
        """Handle a signal, in the event loop."""
        if self._context.is_draining:
            self.is_forced = self._server.should_exit = self._server.force_exit = True
            return
        if self._context.running:
            _note(f"{self._context.running} requests end before the server does; a second signal ends it at once")
        self._context.drain(self._end)

    def _end(self) -> None:
        self._server.should_exit = True


async def _serve(context: Context, listening: socket.socket) -> bool:
    try:
        await context.start()
    except ApiError as error:
        raise EngineError(str(error)) from None
    config = uvicorn.Config(
        create_app(context),
        log_level="critical",
        access_log=False,
        lifespan="off",
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_SECONDS,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )
    server = _Server(config)
    signals = _Signals(server, context)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.handle, number)
    listening.listen(_BACKLOG)  # connections from here on wait for the server, which begins after the line below
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    _note(f"serving {', '.join(context.models.names)} at http://{shown}:{port}/v1")
    try:
        await server.serve(sockets=[listening])
    finally:
        await context.models.close()
    return not signals.is_forced


def _note(message: str) -> None:
    print(f"archc: {message}", file=sys.stderr, flush=True)
