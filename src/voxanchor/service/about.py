"""Routes about the service itself: model, health, metrics, the page and the reference."""

import asyncio
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

import voxanchor
from voxanchor.errors import EnrolmentError
from voxanchor.service import answers
from voxanchor.service.desk import Desk
from voxanchor.service.reference import reference
from voxanchor.types import SAMPLE_RATE
from voxanchor.verification.verifier import Verifier

PAGE = Path(__file__).parent / "page"

HEALTH_S = 5.0
"""A store that says nothing for so long is unavailable: a database may be away."""


def routes(desk: Desk) -> APIRouter:
    """Return the routes for programs."""
    router = APIRouter(tags=["service"])

    @router.get("/v1/model", summary="The model, its calibration, and the limits of a request")
    async def model() -> answers.Service:
        settings = desk.settings
        return answers.Service(
            version=voxanchor.__version__,
            model=_model(desk, desk.verifier, settings.labels[0]),
            beside=None if desk.beside is None else _model(desk, desk.beside, settings.labels[1]),
            older=desk.verifier.older.fingerprint if desk.verifier.older else None,
            prior=settings.prior,
            false_acceptance=settings.false_acceptance,
            noise=list(desk.noise.kinds) if desk.noise else [],
            keeps_audio=settings.keep_audio,
            limits=answers.Limits(
                upload_bytes=settings.max_upload_bytes,
                duration_s=settings.max_duration_s,
                recordings=settings.max_recordings,
                timeout_s=settings.timeout_s,
            ),
        )

    @router.get("/health", summary="Whether the service can answer", responses={503: {"model": answers.Health}})
    async def health(response: Response) -> answers.Health:
        def job() -> bool:
            try:
                desk.store.models()
            except EnrolmentError:
                return False
            return True

        try:  # not among the requests: it must be answered while they wait
            usable = await asyncio.wait_for(asyncio.to_thread(job), HEALTH_S)
        except TimeoutError:
            usable = False
        response.status_code = 200 if usable else 503
        return answers.Health(status="ok" if usable else "unavailable", store=usable)

    @router.get("/metrics", summary="Counters for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

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


def _model(desk: Desk, verifier: Verifier, label: str) -> answers.Model:
    record = verifier.judge.record
    return answers.Model(
        label=label,
        fingerprint=verifier.fingerprint,
        embedding_dim=verifier.embedder.embedding_dim,
        shortest_s=verifier.embedder.min_samples / SAMPLE_RATE,
        calibrated=verifier.calibrated,
        scores=record.calibration.kind if record else "cosine",
        measures=list(record.calibration.measures) if record else [],
        threshold=verifier.judge.threshold_if_known(desk.settings.prior, desk.settings.false_acceptance),
        thresholds=[
            answers.Threshold(
                false_acceptance=item.false_acceptance,
                llr=item.llr,
                false_rejection=item.false_rejection,
                remark=item.remark,
            )
            for item in (record.thresholds if record else ())
        ],
    )
