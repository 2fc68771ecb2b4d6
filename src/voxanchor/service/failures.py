"""Refusals of the service: a status, a code for programs and a sentence for people."""

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
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
