"""Around every request: access and limits, the log, security headers."""

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxanchor.service import requests
from voxanchor.service.requests import Metrics, Refusal, StoreError, answer, is_disk, no_room
from voxanchor.service.settings import Settings

LOGGER = logging.getLogger("voxanchor.service")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, message, and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Of an exception its type alone: messages may name files or people."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line)  # in ASCII: a stream that is not UTF-8 would write escapes that JSON does not have


def write_to(stream: TextIO | None = None) -> None:
    """Send the log of this process's services, and of the libraries they run on, to a stream: by default stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    # the parser of forms says what is wrong with one, which is answered
    levels = (
        (LOGGER.name, logging.INFO),
        ("uvicorn", logging.WARNING),
        ("psycopg", logging.WARNING),
        ("python_multipart", logging.ERROR),
    )
    for name, level in levels:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False


@contextlib.contextmanager
def alone_on_stderr() -> Iterator[TextIO]:
    """Give a stream to standard error for the log, and make lines of the log of whatever else is printed there.

    Libraries in C print past Python, as the decoder of MP3 does of a file that it finds odd, and that would be no JSON.
    """
    try:
        number = sys.stderr.fileno()
        kept = os.dup(number)
    except (AttributeError, OSError, ValueError):  # closed, or no file
        yield sys.stderr
        return
    reading, writing = os.pipe()
    os.dup2(writing, number)
    os.close(writing)
    with os.fdopen(kept, "w", encoding="ascii", buffering=1) as stream:
        relay = threading.Thread(target=_relay, args=(reading,), daemon=True)
        relay.start()
        try:
            yield stream
        finally:
            sys.stderr.flush()
            os.dup2(kept, number)  # nobody writes to the pipe then, which ends the thread
            relay.join(1.0)
            write_to(sys.stderr)


def _relay(reading: int) -> None:
    with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as printed:
        for line in printed:
            LOGGER.warning("printed", extra={"fields": {"text": line.rstrip()}})


def place_of(error: BaseException) -> str:
    """Return where in the code an exception arose, and its type: what the log may hold of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"


# What every request passes: who asks, from where, how much is sent, how many are in hand, and for how long.

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class AccessLimits:
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
            requests.current().by = self._name(headers)
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
        """Check that no page of another site has sent a request. With keys, such a page has none.

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
        """Answer a request, or refuse it when it takes too long; one that has begun to write is waited for."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        task = asyncio.ensure_future(self.app(scope, receive, noted))
        try:
            await asyncio.wait({task}, timeout=self.settings.timeout_s)
            if task.done() or begun or not requests.current().deadline.give_up():
                await task
                return
        except asyncio.CancelledError:  # the server stops at once
            requests.current().deadline.give_up()
            task.cancel()
            raise
        task.cancel()
        await asyncio.wait({task})
        await answer(requests.timed_out())(scope, receive, send)


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # a bracket that does not close
        return None


def _guarded(path: str) -> bool:
    return path.startswith("/v1/") or path == "/metrics"


# What is around every answer: an id, security headers, a line in the log, metrics, and no details of a defect.

CONTENT_POLICY = (
    "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

REQUEST_ID = "X-Request-ID"


class RequestLog:
    """Gives each request its `calls.Call`, and each answer its headers and its line in the log.

    HEAD, which monitors and proxies ask with, is answered as GET would be, without the body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call, began, status = requests.Call(), time.perf_counter(), 0
        requests.enter(call)
        head = scope["method"] == "HEAD"
        inner = {**scope, "method": "GET"} if head else scope

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers[REQUEST_ID] = call.id
                if scope["path"].startswith("/v1/"):
                    headers["Cache-Control"] = "no-store"
            elif head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(inner, receive, dressed)
        except Exception as error:
            call.problem = call.problem or place_of(error)
            if not status:
                await answer(_unexpected(error, call.id))(inner, receive, dressed)
        finally:
            route = getattr(inner.get("route"), "path", "other")
            self._record(scope["method"], route, call, status, time.perf_counter() - began)

    def _record(self, asked: str, route: str, call: requests.Call, status: int, seconds: float) -> None:
        # a method may be any text: only known ones become labels, which stay in memory
        method = asked if asked in {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT"} else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        self.metrics.audio_seconds.inc(call.audio_s)
        fields = {
            "id": call.id,
            "method": method,
            "route": route,
            "status": status,
            "ms": round(1e3 * seconds, 1),
            "by": call.by,
            "audio_s": round(call.audio_s, 2),
            "decision": call.decision,
        }
        if call.problem:
            fields["problem"] = call.problem
        level = logging.ERROR if call.problem else logging.INFO
        LOGGER.log(level, "request", extra={"fields": fields})


def _unexpected(error: Exception, number: str) -> Refusal:
    if isinstance(error, StoreError):
        return Refusal(503, "store_unavailable", f"the store cannot be used now; the log says more under {number}")
    if is_disk(error):
        return no_room()
    return Refusal(500, "internal_error", f"something went wrong inside; the log says more under {number}")
