"""One request while it is answered: its context and deadline, refusals, and counters."""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException

from voxanchor.errors import AudioError, RecipeError, TooLongError, VoxanchorError

CODES = {
    400: "bad_request",
    401: "bad_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    500: "internal_error",
}
"""Codes of refusals that the framework makes by itself."""


_NO_FILE = "a file is needed here, and text came; curl takes -F name=@FILE, with the @"


class Refusal(HTTPException):
    """An answer other than success, whose message the caller may read.

    Attributes:
        code: the kind of refusal, for programs; it never changes.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)
        self.code = code


class StoreError(Exception):
    """A store that cannot be read or written now. Its message may name files, so it goes into the log alone."""


def answer(refusal: HTTPException) -> JSONResponse:
    """Return a refusal as the service sends it: ``{"error": {"code", "message"}}``."""
    code = refusal.code if isinstance(refusal, Refusal) else CODES.get(refusal.status_code, "refused")
    content = {"error": {"code": code, "message": str(refusal.detail)}}
    return JSONResponse(content, refusal.status_code, refusal.headers)


def refusal_of(error: VoxanchorError) -> Refusal | None:
    """Return the refusal for an error that the request caused; None for one that it did not."""
    if isinstance(error, TooLongError):
        return Refusal(413, "too_long", str(error))
    if isinstance(error, AudioError):
        return Refusal(422, "unusable_audio", str(error))
    if isinstance(error, RecipeError):
        return Refusal(422, "bad_request", str(error))
    return None


def is_disk(error: BaseException) -> bool:
    """Return whether an error is of the file system, as of a full disk, and not of a connection."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError)


def no_room() -> Refusal:
    """Return the refusal of an upload that could not be written to the disk."""
    return Refusal(503, "no_room", "the service cannot write its temporary files now: its disk may be full")


def _methods(request: Request) -> set[str]:
    """Return what may be asked of a request's address."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(path, ())} or {"GET"}
    return methods | {"HEAD"} if "GET" in methods else methods


def install(app: FastAPI) -> None:
    """Have every refusal of an app answered in the one form. Other exceptions pass on to the middleware."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.__cause__ is not None and is_disk(error.__cause__):
            raise error.__cause__  # met while the form was taken apart; the framework blames the form
        if error.status_code == 405:  # the framework names the methods of one route, and not all of the address
            return answer(HTTPException(405, error.detail, {"Allow": ", ".join(sorted(_methods(request)))}))
        return answer(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
        assert isinstance(error, RequestValidationError)
        found = error.errors()[0]
        # the value that was sent is left out: it may be a name
        place = ".".join(str(part) for part in found["loc"][1:])
        message = _NO_FILE if "Expected UploadFile" in found["msg"] else found["msg"]
        return answer(Refusal(422, "bad_request", f"{place}: {message}" if place else str(message)))

    async def unusable(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
        assert isinstance(error, VoxanchorError)
        refusal = refusal_of(error)
        if refusal is None:
            raise error
        return answer(refusal)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(VoxanchorError, unusable)


# One request while it is answered: what the log will hold of it, and whether it has run out of time.


class Deadline:
    """Whether a request may go on.

    Either it is given up, and from then on changes nothing; or it has begun to write, and is then waited for. Which of
    the two comes first is settled under a lock, so that an answer "timed out" means that nothing was changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = self._writing = False

    @property
    def over(self) -> bool:
        """Whether the request was given up."""
        return self._over

    def give_up(self) -> bool:
        """Give the request up unless it has begun to write; return whether it is given up."""
        with self._lock:
            self._over = not self._writing
            return self._over

    def check(self) -> None:
        """Check that the request may go on.

        Raises:
            Refusal: it was given up.
        """
        if self._over:
            raise timed_out()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the request from being given up, from here on.

        Raises:
            Refusal: it was given up already.
        """
        with self._lock:
            if self._over:
                raise timed_out()
            self._writing = True
        yield


def timed_out() -> Refusal:
    """Return the refusal of a request that took too long."""
    return Refusal(504, "timed_out", "the request took too long and was given up; nothing was changed")


@dataclass
class Call:
    """A request.

    Attributes:
        id: random, in the answer's header and in the log.
        deadline: whether it may go on.
        by: name of the API key; empty without keys.
        audio_s: seconds of audio that were read.
        decision: the answer, where one was decided.
        problem: what went wrong inside, for the log: no names of people or files.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    deadline: Deadline = field(default_factory=Deadline)
    by: str = ""
    audio_s: float = 0.0
    decision: str = ""
    problem: str = ""


_current: ContextVar[Call | None] = ContextVar("voxanchor_call", default=None)


def current() -> Call:
    """Return the request that is being answered, in any of its threads; a new one outside of all."""
    return _current.get() or Call()


def enter(call: Call) -> None:
    """Make a request the current one of this task and what it starts."""
    _current.set(call)


# Counters for Prometheus, in a registry of their own, so that several services fit into one process.

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What the service counts. None of it names a person."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "voxanchor_requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "voxanchor_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "voxanchor_decisions",
            "Decisions by what was asked and the outcome; 'abstained' is one.",
            ["kind", "decision"],
            registry=self.registry,
        )
        self.audio_seconds = Counter("voxanchor_audio_seconds", "Seconds of audio read.", registry=self.registry)
        self.enrolled = Counter("voxanchor_enrolled_recordings", "Recordings enrolled.", registry=self.registry)
        self.refused = Counter(
            "voxanchor_refused_busy", "Requests refused because too many were in hand.", registry=self.registry
        )
        self.in_hand = Gauge(
            "voxanchor_requests_in_hand", "Requests with recordings, waiting ones included.", registry=self.registry
        )
        self.queue = Gauge(
            "voxanchor_embedding_queue", "Recordings that wait for the model.", ["model"], registry=self.registry
        )
        self.batch_recordings = Histogram(
            "voxanchor_batch_recordings",
            "Recordings embedded at once.",
            ["model"],
            buckets=_BATCHES,
            registry=self.registry,
        )

    def watch_queue(self, model: str, length: Callable[[], float]) -> None:
        """Read the length of a model's queue whenever the metrics are read."""
        self.queue.labels(model).set_function(length)

    def text(self) -> bytes:
        """Return the counters in Prometheus's text format."""
        return generate_latest(self.registry)
