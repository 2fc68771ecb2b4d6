"""The application in a server, from its start to the signal that ends it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from voxanchor.errors import RecipeError
from voxanchor.service import middleware

_GRACE_S = 5


def is_local(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def run(app: FastAPI, host: str, port: int, timeout_s: float, announce: Callable[[str], None]) -> None:
    """Serve an application until SIGTERM or SIGINT; requests that are being answered then are answered.

    Args:
        app: what is served.
        host: address to listen on.
        port: 0 for any that is free.
        timeout_s: how long one request may take.
        announce: told the address, once the service answers there.

    Raises:
        RecipeError: the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        http=_impatient(timeout_s),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=round(timeout_s + _GRACE_S),
    )
    with _listening(host, port) as listener, _signals_end_quietly(), middleware.alone_on_stderr() as stream:
        middleware.write_to(stream)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        _Server(config, lambda: announce(address)).run([listener])


def _impatient(seconds: float) -> type[asyncio.Protocol]:
    """Return the server's protocol, which closes connections where no complete header arrives in that time.

    Requests have a limit of their own; without this one, connections that send nothing would take all files a process
    may have open.
    """

    class Impatient(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # one of two, by what is installed
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self._calm()

        def _wait(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._calm()
            elif self._patience is None:
                self._patience = self.loop.call_later(seconds, self._close)

        def _calm(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def _close(self) -> None:
            self._patience = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Impatient


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()


def _listening(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        if listener is not None:
            listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise RecipeError(f"serve: cannot listen on {host}, port {port} ({reason}). Choose another one") from None
    return listener


@contextlib.contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """The server raises the signal that ended it once more when it is done: nothing is left to end then."""

    def nothing(number: int, frame: FrameType | None) -> None: ...

    before = {number: signal.signal(number, nothing) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
