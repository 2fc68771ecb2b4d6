"""The service as an ASGI application, made from a verifier."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyHeader, HTTPBearer

import voxanchor
from voxanchor.service import about, answers, decisions, failures, people
from voxanchor.service.desk import Desk
from voxanchor.service.envelope import Envelope
from voxanchor.service.gate import Gate
from voxanchor.service.settings import Settings
from voxanchor.verification.verifier import Verifier

if TYPE_CHECKING:
    from voxanchor.audio.bank import NoiseBank

_REFUSALS = {
    400: "A form that cannot be taken apart.",
    401: "No API key, or one that is not known.",
    403: "From a page of another site.",
    404: "Nobody of that name.",
    409: "Enrolled by models alone that the served one cannot be compared with.",
    413: "Too large, too long, or too many recordings.",
    422: "A recording, name or number that cannot be used.",
    503: "Too many requests in hand, or the store cannot be used now.",
    504: "It took too long; nothing was changed.",
}


def make_app(
    verifier: Verifier,
    settings: Settings | None = None,
    beside: Verifier | None = None,
    noise: "NoiseBank | None" = None,
) -> FastAPI:
    """Return the application. It holds no state outside of itself; several may live in one process.

    Args:
        verifier: the model that is served, and its store. Both stay open when the application ends.
        settings: limits, keys and rates.
        beside: another model that ``/v1/try`` compares with: the one that the served model was made from, say.
        noise: what ``/v1/try`` adds.
    """
    desk = Desk(verifier, settings or Settings(), beside, noise)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        desk.close()

    app = FastAPI(
        title="voxanchor",
        version=voxanchor.__version__,
        summary="Whose voice is it: enrol people, verify and identify recordings.",
        docs_url=None,  # these pages load scripts from elsewhere; about.add_page adds one that does not
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS they would lead to plain HTTP
        lifespan=lifespan,
    )
    failures.install(app)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": answers.Error, "description": text} for status, text in _REFUSALS.items()
    }
    # the gate looks at keys before a body is read; these two are for the description alone
    keys = [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    needed = keys if desk.settings.keys else []
    for router in (people.routes(desk), decisions.routes(desk), about.routes(desk)):
        app.include_router(router, responses=responses, dependencies=needed)
    about.add_page(app)
    app.add_middleware(Gate, settings=desk.settings, metrics=desk.metrics)
    app.add_middleware(Envelope, metrics=desk.metrics)
    return app
