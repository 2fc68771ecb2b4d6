"""What is around every answer: an id, security headers, a line in the log, metrics, and no details of a defect."""

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxanchor.service import calls
from voxanchor.service.failures import Refusal, StoreError, answer, is_disk, no_room
from voxanchor.service.logs import LOGGER, place_of
from voxanchor.service.metrics import Metrics

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


class Envelope:
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
        call, began, status = calls.Call(), time.perf_counter(), 0
        calls.enter(call)
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

    def _record(self, asked: str, route: str, call: calls.Call, status: int, seconds: float) -> None:
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
