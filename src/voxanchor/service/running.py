"""The application in a server, from its start to the signal that ends it."""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from types import FrameType

import uvicorn
from fastapi import FastAPI

from voxanchor.errors import RecipeError
from voxanchor.service import logs

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
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=round(timeout_s + _GRACE_S),
    )
    with _listening(host, port) as listener, _signals_end_quietly():
        logs.write_to(sys.stderr)
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        _Server(config, lambda: announce(address)).run([listener])


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
