"""The service as an ASGI application, made from a verifier, and the routes about itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.staticfiles import StaticFiles

import voxanchor
from voxanchor.errors import EnrolmentError
from voxanchor.service import failures, routes, schema
from voxanchor.service.engine import AppContext
from voxanchor.service.middleware import AccessLimits, RequestLog
from voxanchor.service.settings import Settings
from voxanchor.types import SAMPLE_RATE
from voxanchor.verification.verifier import Verifier

if TYPE_CHECKING:
    from voxanchor.conditions.bank import NoiseBank


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>voxanchor: reference</title><link rel="icon" href="/page/icon.svg"><link rel="stylesheet" href="/page/style.css">
</head><body><main class="reference"><h1>voxanchor: reference</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. The page to try it: <a href="/">/</a>.</p>
"""


def reference(document: dict[str, Any]) -> str:
    """Return the HTML of an OpenAPI document: every route with what it takes and what it answers."""
    schemas: dict[str, Any] = document.get("components", {}).get("schemas", {})
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += _route(method.upper(), path, route, schemas)
    parts.append("<h2>Answers</h2>")
    for name, described in schemas.items():
        if "properties" in described and not name.startswith("Body_"):
            parts.append(f'<section><h3 id="{escape(name)}">{escape(name)}</h3>')
            parts.append(f"<p>{escape(described.get('description', ''))}</p>{_table(described)}</section>")
    return "".join([*parts, "</main></body></html>"])


def _route(method: str, path: str, route: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method} {escape(path)}</code></h2><p>{escape(route.get('summary', ''))}.</p>"
    parameters = {item["name"]: {**item["schema"], **item} for item in route.get("parameters", ())}
    if parameters:
        needed = [item["name"] for item in route["parameters"] if item.get("required")]
        yield _table({"properties": parameters, "required": needed})
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code></p>"
        yield _table(schemas[content["schema"]["$ref"].rpartition("/")[2]])
    answers: dict[str, list[str]] = {}
    for status, response in route["responses"].items():
        what = next((_type(content.get("schema", {})) for content in response.get("content", {}).values()), "text")
        answers.setdefault(what, []).append(escape(status))
    told = "; ".join(f"{what}: {', '.join(statuses)}" for what, statuses in answers.items())
    yield f"<p>Answers: {told}</p></section>"


def _table(schema: dict[str, Any]) -> str:
    rows = []
    for name, item in schema["properties"].items():
        needed = "required" if name in schema.get("required", ()) else f"default {item.get('default')}"
        cells = (f"<code>{escape(name)}</code>", _type(item), needed, escape(item.get("description", "")))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(item) for item in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        return "file"
    return escape(str(schema.get("type", "text")))


# Routes about the service itself: model, health, metrics, the page and the reference.

PAGE = Path(__file__).parent / "page"

HEALTH_S = 5.0
"""A store that says nothing for so long is unavailable: a database may be away."""


def about_routes(context: AppContext) -> APIRouter:
    """Return the routes for programs."""
    router = APIRouter(tags=["service"])

    @router.get("/v1/model", summary="The model, its calibration, and the limits of a request")
    async def model() -> schema.Service:
        settings = context.settings
        return schema.Service(
            version=voxanchor.__version__,
            model=_model(context, context.verifier, settings.labels[0]),
            beside=None if context.beside is None else _model(context, context.beside, settings.labels[1]),
            older=context.verifier.older.fingerprint if context.verifier.older else None,
            prior=settings.prior,
            false_acceptance=settings.false_acceptance,
            noise=list(context.noise.kinds) if context.noise else [],
            keeps_audio=settings.keep_audio,
            limits=schema.Limits(
                upload_bytes=settings.max_upload_bytes,
                duration_s=settings.max_duration_s,
                recordings=settings.max_recordings,
                timeout_s=settings.timeout_s,
            ),
        )

    @router.get("/health", summary="Whether the service can answer", responses={503: {"model": schema.Health}})
    async def health(response: Response) -> schema.Health:
        def job() -> bool:
            try:
                context.store.models()
            except EnrolmentError:
                return False
            return True

        try:  # not among the requests: it must be answered while they wait
            usable = await asyncio.wait_for(asyncio.to_thread(job), HEALTH_S)
        except TimeoutError:
            usable = False
        response.status_code = 200 if usable else 503
        return schema.Health(status="ok" if usable else "unavailable", store=usable)

    @router.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(context.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def add_page(app: FastAPI) -> None:
    """Add what people look at: the page at ``/``, its files, and the reference of the routes at ``/docs``."""

    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    async def docs() -> HTMLResponse:
        return HTMLResponse(reference(app.openapi()))

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _model(context: AppContext, verifier: Verifier, label: str) -> schema.Model:
    record = verifier.backend.record
    return schema.Model(
        label=label,
        fingerprint=verifier.fingerprint,
        embedding_dim=verifier.embedder.embedding_dim,
        shortest_s=verifier.embedder.min_samples / SAMPLE_RATE,
        calibrated=verifier.calibrated,
        scores=record.calibration.kind if record else "cosine",
        measures=list(record.calibration.measures) if record else [],
        threshold=verifier.backend.threshold_if_known(context.settings.prior, context.settings.false_acceptance),
        thresholds=[
            schema.Threshold(
                false_acceptance=item.false_acceptance,
                llr=item.llr,
                false_rejection=item.false_rejection,
                remark=item.remark,
            )
            for item in (record.thresholds if record else ())
        ],
    )


# The service as an ASGI application, made from a verifier.

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
    context = AppContext(verifier, settings or Settings(), beside, noise)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        context.close()

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
        status: {"model": schema.Error, "description": text} for status, text in _REFUSALS.items()
    }
    # the gate looks at keys before a body is read; these two are for the description alone
    keys = [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    needed = keys if context.settings.keys else []
    for router in (routes.people_routes(context), routes.decision_routes(context), about_routes(context)):
        app.include_router(router, responses=responses, dependencies=needed)
    add_page(app)
    app.add_middleware(AccessLimits, settings=context.settings, metrics=context.metrics)
    app.add_middleware(RequestLog, metrics=context.metrics)
    return app
