"""What every request passes: who asks, from where, how much is sent, how many are in hand, and for how long."""

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxanchor.service import calls
from voxanchor.service.failures import Refusal, answer
from voxanchor.service.metrics import Metrics
from voxanchor.service.settings import Settings

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Gate:
    """Lets a request pass or answers it itself, before its body was read.

    The first four are refused from the headers alone, a body that is longer than it says when the limit is passed.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self._in_hand = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not _guarded(scope["path"]):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._refuse_foreign(headers)
            calls.current().by = self._name(headers)
            self._refuse_large(headers)
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._timed(scope, receive, send)
            return
        if self._in_hand >= self.settings.max_requests:
            self.metrics.refused.inc()
            busy = Refusal(503, "busy", "too many requests are in hand; try again", {"Retry-After": "1"})
            await answer(busy)(scope, receive, send)
            return
        self._count(1)
        try:
            await self._timed(scope, self._limited(receive), send)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._in_hand += change
        self.metrics.in_hand.set(self._in_hand)

    def _name(self, headers: Headers) -> str:
        """Return the name of the request's key.

        Raises:
            Refusal: keys are needed and there is none, or none that is known.
        """
        if not self.settings.keys:
            return ""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        presented = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        name = self.settings.keys.name_of(presented)
        if name is None:
            what = "this API key is not known" if presented else "an API key is needed, as 'Authorization: Bearer KEY'"
            raise Refusal(401, "bad_key", what, {"WWW-Authenticate": "Bearer"})
        return name

    def _refuse_foreign(self, headers: Headers) -> None:
        """Do nothing for a request that no page of another site has sent. With keys, such a page has none.

        Raises:
            Refusal: it comes from elsewhere.
        """
        if self.settings.keys:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.settings.local_only and _hostname(host) not in _LOOPBACK:
            raise Refusal(403, "forbidden", "without API keys the service answers on this machine's own names only")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refusal(403, "forbidden", "a page of another site may not use a service without API keys")

    def _refuse_large(self, headers: Headers) -> None:
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.settings.max_upload_bytes:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        limit = self.settings.max_upload_bytes / 2**20
        return Refusal(413, "too_large", f"at most {limit:g} MiB are taken in one request", {"Connection": "close"})

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.settings.max_upload_bytes:
                raise self._too_large()
            return message

        return counted

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say that it took too long; one that has begun to write is waited for."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        task = asyncio.ensure_future(self.app(scope, receive, noted))
        try:
            await asyncio.wait({task}, timeout=self.settings.timeout_s)
            if task.done() or begun or not calls.current().deadline.give_up():
                await task
                return
        except asyncio.CancelledError:  # the server stops at once
            calls.current().deadline.give_up()
            task.cancel()
            raise
        task.cancel()
        await asyncio.wait({task})
        await answer(calls.timed_out())(scope, receive, send)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # a bracket that does not close
        return None


def _guarded(path: str) -> bool:
    return path.startswith("/v1/") or path == "/metrics"
