"""Routes that compare recordings: two of them, one with everybody, one in noise; and the log of what was decided."""

import contextlib
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Query

from voxanchor.errors import EnrolmentError, OtherModelError, UnknownPersonError
from voxanchor.scoring.judge import Voices
from voxanchor.service import answers, calls, trying
from voxanchor.service.desk import Desk
from voxanchor.service.failures import Refusal
from voxanchor.service.people import (
    Channel,
    FalseAcceptance,
    Prior,
    Upload,
    checked_name,
    decided,
    out_of_order,
    rates,
    refused,
)
from voxanchor.service.uploads import recordings
from voxanchor.types import Waveform
from voxanchor.verification.identify import CERTAINTY
from voxanchor.verification.people import People
from voxanchor.verification.recordings import hear
from voxanchor.verification.result import Identification
from voxanchor.verification.verifier import Verifier

MOST_RATIOS = 12

_TRIES = 5

ListFalseAcceptance = Annotated[
    float | None,
    Form(
        gt=0,
        lt=100,
        description="In percent, in place of a prior: so many strangers, at most, are taken for somebody on the list.",
    ),
]

Ratios = Annotated[
    list[Annotated[float, Form(ge=-20, le=60)]],
    Form(description="Signal-to-noise ratios in dB.", min_length=1, max_length=MOST_RATIOS),
]


def routes(desk: Desk) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/v1", tags=["decisions"])

    @router.post("/verify", summary="Whether two recordings are of one voice; not kept in the audit log")
    async def verify(
        first: Upload,
        second: Upload,
        prior: Prior = None,
        false_acceptance: FalseAcceptance = None,
        channel: Channel = "mix",
    ) -> answers.Verification:
        def job() -> answers.Verification:
            one, other = recordings([first, second], desk.settings, channel)
            found = desk.verifier.verify(one, other, *rates(desk, prior, false_acceptance))
            decided(desk, "pair", found.decision)
            return answers.Verification.model_validate(found.plain())

        return await desk.work(job)

    @router.post("/identify", summary="Whose voice a recording is, of all who are enrolled, or that it is nobody's")
    async def identify(
        recording: Upload,
        top: Annotated[int, Form(ge=1, le=100, description="Candidates to return.")] = 5,
        prior: Prior = None,
        false_acceptance: ListFalseAcceptance = None,
        certainty: Annotated[
            float, Form(ge=0, lt=1, description="The likeliest is the answer when more probable than this.")
        ] = CERTAINTY,
        channel: Channel = "mix",
    ) -> answers.Identification:
        def job() -> answers.Identification:
            (heard,) = recordings([recording], desk.settings, channel)
            by = calls.current().by
            each, whole = rates(desk, prior, false_acceptance)
            try:
                found = _unless_deleted(
                    lambda: desk.verifier.identify(
                        heard, top, prior=each, false_acceptance=whole, certainty=certainty, by=by
                    )
                )
            except OtherModelError as error:
                raise Refusal(409, "other_model", str(error)) from None
            except EnrolmentError as error:
                raise out_of_order(error) from None
            decided(desk, "identify", found.decision)
            return answers.Identification.model_validate(found.plain())

        return await desk.work(job)

    @router.post("/embed", summary="The unit vector of a recording")
    async def embed(recording: Upload, channel: Channel = "mix") -> answers.Embedding:
        def job() -> answers.Embedding:
            (heard,) = recordings([recording], desk.settings, channel)
            return answers.Embedding(model=desk.verifier.fingerprint, embedding=desk.verifier.embed(heard).tolist())

        return await desk.work(job)

    @router.post("/try", summary="What noise does to a decision, for the served model and the one beside it")
    async def attempt(
        recording: Upload,
        kind: Annotated[str, Form(description="Kind of noise, one of /v1/model's.")],
        snr_db: Ratios,
        person: Annotated[str | None, Form(description="Compare with this person; or give a reference.")] = None,
        reference: Upload | None = None,
        seed: Annotated[int, Form(ge=0, description="Draws the noise: the same seed, the same noise.")] = 0,
        audio: Annotated[bool, Form(description="Return the first noisy recording, to listen to.")] = False,
        prior: Prior = None,
        false_acceptance: FalseAcceptance = None,
        channel: Channel = "mix",
    ) -> answers.Trial:
        if desk.noise is None or kind not in desk.noise.kinds:
            known = ", ".join(desk.noise.kinds) if desk.noise else "none"
            raise Refusal(422, "bad_request", f"kind: no noise of this kind; there is {known}")
        if (person is None) == (reference is None):
            raise Refusal(422, "bad_request", "give a person or a reference recording, one of them")
        name = None if person is None else checked_name(person)
        bank, files = desk.noise, [recording] if reference is None else [recording, reference]

        def job() -> answers.Trial:
            wave, *others = (heard.waveform for heard in recordings(files, desk.settings, channel))
            noisy = trying.with_noise(wave, kind, snr_db, bank, seed)
            calls.current().deadline.check()
            for_what = rates(desk, prior, false_acceptance)
            known = _known(desk, desk.verifier, name, others)
            served = trying.judged(desk.verifier, known, noisy.heard, *for_what)
            beside, remark = None, "no model beside it is served"
            if desk.beside is not None:
                try:
                    voice = _known(desk, desk.beside, name, others)
                    beside, remark = trying.judged(desk.beside, voice, noisy.heard, *for_what), ""
                except Refusal as refusal:
                    remark = str(refusal.detail)
            clean, *found = trying.points(noisy, snr_db, served, beside)
            heard = trying.wav(noisy.heard[1].waveform) if audio else None
            return answers.Trial(
                kind=kind, noise=noisy.description, clean=clean, noisy=found, beside_remark=remark, audio=heard
            )

        return await desk.work(job)

    @router.get("/decisions", summary="The audit log, newest first")
    async def decisions(
        person: Annotated[str | None, Query(description="Decisions about one person alone.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[answers.Decision]:
        name = None if person is None else checked_name(person)

        def job() -> list[answers.Decision]:
            try:
                return [answers.Decision(**vars(line)) for line in desk.store.decisions(name, limit)]
            except EnrolmentError as error:
                raise out_of_order(error) from None

        return await desk.work(job)

    return router


def _unless_deleted(identify: Callable[[], Identification]) -> Identification:
    """Return the answer; where a candidate was deleted while it was sought, once more without them.

    Raises:
        EnrolmentError: as `Verifier.identify`.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(UnknownPersonError):
            return identify()
    return identify()


def _known(desk: Desk, verifier: Verifier, name: str | None, others: list[Waveform]) -> Voices:
    """Return what a recording is compared with.

    Raises:
        Refusal: nobody of that name, or not by this model; or a reference that holds too little speech.
    """
    if name is None:
        heard = hear(others[0], "the reference")
        voice = trying.voice_of_recording(heard, verifier)
        if voice is None:
            raise Refusal(422, "unusable_audio", verifier.unfit(heard))
        return voice
    elsewhere = None if verifier is desk.verifier else People(desk.store, verifier.fingerprint)
    try:
        return trying.voice_of_person(name, verifier, elsewhere)
    except EnrolmentError as error:
        if elsewhere is not None:
            raise Refusal(409, "other_model", "not enrolled with this model: enrol again to compare") from None
        raise refused(name, error) from None
