"""The service as an ASGI application, made from a verifier, and the routes about itself."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.staticfiles import StaticFiles

import voxanchor
from voxanchor.errors import EnrolmentError
from voxanchor.service import requests, routes, schema
from voxanchor.service.backgrounds import Backgrounds
from voxanchor.service.engine import AppContext
from voxanchor.service.middleware import AccessLimits, RequestLog
from voxanchor.service.settings import Settings
from voxanchor.types import SAMPLE_RATE
from voxanchor.verification.verifier import Verifier

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>voxanchor: reference</title><link rel="icon" href="/page/icon.svg"><link rel="stylesheet" href="/page/style.css">
</head><body><main class="reference"><h1>voxanchor: reference</h1>
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. The page to try it: <a href="/">/</a>.</p>
"""


def reference(document: dict[str, Any]) -> str:
    """Return an OpenAPI document as an HTML page: every route with its fields and answers, and every answer's fields.

    FastAPI's own pages load scripts from elsewhere.
    """
    schemas: dict[str, Any] = document["components"]["schemas"]
    parts = [_HEAD]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts.append(f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(route['summary'])}.</p>")
            parts.append(_table((item["name"], item | item["schema"]) for item in route.get("parameters", ())))
            for content in route.get("requestBody", {}).get("content", {}).values():
                body = schemas[content["schema"]["$ref"].rpartition("/")[2]]
                needed = body.get("required", ())
                parts.append(_table((name, item | {"required": name in needed}) for name, item in _fields(body)))
            parts.append(f"<p>Answers: {_answers(route['responses'])}</p></section>")
    parts.append("<h2>Answers</h2>")
    for name, answer in schemas.items():
        if "properties" in answer and not name.startswith("Body_"):
            parts.append(f'<section><h3 id="{escape(name)}">{escape(name)}</h3>')
            parts.append(f"<p>{escape(answer.get('description', ''))}</p>{_table(_fields(answer))}</section>")
    return "".join([*parts, "</main></body></html>"])


def _fields(schema: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    fields: dict[str, dict[str, Any]] = schema["properties"]
    return fields.items()


def _answers(responses: dict[str, Any]) -> str:
    statuses: dict[str, list[str]] = {}
    for status, response in responses.items():
        kinds = [_type(content.get("schema", {})) for content in response.get("content", {}).values()]
        statuses.setdefault((kinds or ["text"])[0], []).append(escape(status))
    return "; ".join(f"{kind}: {', '.join(found)}" for kind, found in statuses.items())


def _table(fields: Iterable[tuple[str, dict[str, Any]]]) -> str:
    rows = []
    for name, field in fields:
        about = [escape(field.get("description", ""))]
        about += ["required"] if field.get("required") else []
        about += [f"default {escape(str(field['default']))}"] if field.get("default") is not None else []
        cells = (f"<code>{escape(name)}</code>", _type(field), "; ".join(filter(None, about)))
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(item) for item in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(escape(str(value)) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items') or schema['prefixItems'][0])}"
    return "file" if "contentMediaType" in schema else escape(str(schema.get("type", "text")))


# Routes about the service itself: model, health, metrics, the page and the reference.

PAGE = Path(__file__).parent / "page"

HEALTH_S = 5.0
"""A store that does not answer for so long is unavailable: a database may be away."""


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
        thresholds=[schema.Threshold.model_validate(item) for item in (record.thresholds if record else ())],
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


class _Service(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made when first asked for."""
        if self.openapi_schema is None:
            schema.describe(super().openapi())  # in place: the framework keeps the document
        return super().openapi()


def make_app(
    verifier: Verifier,
    settings: Settings | None = None,
    beside: Verifier | None = None,
    noise: Backgrounds | None = None,
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

    app = _Service(
        title="voxanchor",
        version=voxanchor.__version__,
        summary="Whose voice is it: enrol people, verify and identify recordings.",
        docs_url=None,  # these pages load scripts from elsewhere; `reference` does not
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy that ends TLS they would lead to plain HTTP
        lifespan=lifespan,
    )
    requests.install(app)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": schema.Error, "description": text} for status, text in _REFUSALS.items()
    }
    # the gate looks at keys before a body is read; these two are for the description alone
    keys = [Depends(HTTPBearer(auto_error=False)), Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    needed = keys if context.settings.keys else []
    for made in (routes.people_routes, routes.decision_routes, routes.noise_routes, about_routes):
        app.include_router(made(context), responses=responses, dependencies=needed)
    add_page(app)
    app.add_middleware(AccessLimits, settings=context.settings, metrics=context.metrics)
    app.add_middleware(RequestLog, metrics=context.metrics)
    return app
