"""Routes about people: enrol, list, look, verify, delete."""

import contextlib
from typing import Annotated

from fastapi import APIRouter, File, Form, Path, UploadFile

from voxanchor.enrolments.checks import person_name
from voxanchor.enrolments.records import Enrolment
from voxanchor.errors import EnrolmentError, OtherModelError, TracesLeftError, UnknownPersonError, VoxanchorError
from voxanchor.service import answers, calls
from voxanchor.service.desk import Desk
from voxanchor.service.failures import Refusal, StoreError
from voxanchor.service.trying import side_answer
from voxanchor.service.uploads import recordings as uploaded

Name = Annotated[str, Path(description="The person: up to 200 characters, no slash. Kept in Unicode's composed form.")]
Upload = Annotated[UploadFile, File(description="A recording in a common format, of any rate and channel count.")]
Uploads = Annotated[list[UploadFile], File(description="One or several recordings of the person.")]
Prior = Annotated[
    float | None,
    Form(gt=0, lt=1, description="Probability of one voice before it was heard; else the service's."),
]
FalseAcceptance = Annotated[
    float | None, Form(gt=0, lt=100, description="In percent, in place of a prior: one of /v1/model's thresholds.")
]
Channel = Annotated[
    str, Form(description="Which channel is heard: mix, loudest, left, right, or a number; of several, with commas.")
]

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_STEPS = {".", ".."}


def checked_name(name: str) -> str:
    """Return a person's name as it is kept.

    Raises:
        Refusal: a name that no person has, or that was not sent in UTF-8: all such bytes arrive as one character, so
            that two people would be one.
    """
    if _UNREADABLE in name:
        raise Refusal(422, "bad_name", "the name is not percent-encoded UTF-8")
    try:
        return person_name(name)
    except EnrolmentError as error:
        raise Refusal(422, "bad_name", str(error)) from None


def refused(name: str, error: EnrolmentError) -> Exception:
    """Return what an error about a person comes to: somebody unknown, another model, or a store out of order."""
    if isinstance(error, UnknownPersonError):
        return Refusal(404, "unknown_person", str(error))
    if isinstance(error, OtherModelError):
        return Refusal(409, "other_model", str(error))
    return out_of_order(error, name)


def out_of_order(error: EnrolmentError, name: str = "") -> StoreError:
    """Return the error of a store that cannot be used; the log gets its message, without names of people."""
    text = str(error).replace(name, "(name)") if name else str(error)
    names_others = isinstance(error, UnknownPersonError | OtherModelError)
    calls.current().problem = type(error).__name__ if names_others else text
    return StoreError()


def rates(desk: Desk, prior: float | None, false_acceptance: float | None) -> tuple[float, float | None]:
    """Return what a decision is made for: what was asked, else what the service is set to."""
    if prior is None and false_acceptance is None:
        return desk.settings.prior, desk.settings.false_acceptance
    return prior or desk.settings.prior, false_acceptance


def decided(desk: Desk, kind: str, decision: str) -> None:
    """Count a decision and note it for the log."""
    desk.metrics.decisions.labels(kind, decision).inc()
    calls.current().decision = decision


def routes(desk: Desk) -> APIRouter:
    """Return the routes under ``/v1/people``."""
    router = APIRouter(prefix="/v1/people", tags=["people"])

    @router.get("", summary="Everybody who is enrolled, in the order of names")
    async def people() -> list[answers.Person]:
        def job() -> list[answers.Person]:
            try:
                found = desk.store.people()
            except EnrolmentError as error:
                raise out_of_order(error) from None
            return [answers.Person(**{**vars(person), "models": list(person.models)}) for person in found]

        return await desk.work(job)

    @router.get("/{name}", summary="One person's enrolments")
    async def person(name: Name) -> answers.PersonDetail:
        name = checked_name(name)

        def job() -> answers.PersonDetail:
            found = _enrolments(desk, name)
            return answers.PersonDetail(name=name, comparable=_comparable(desk, name), enrolments=found)

        return await desk.work(job)

    @router.post("/{name}", summary="Enrol: add recordings to a person, all of them or none", status_code=201)
    async def enrol(name: Name, recordings: Uploads, channel: Channel = "mix") -> answers.Enrolled:
        name = checked_name(name)
        if name in _STEPS:  # browsers and curl take them out of an address: nobody could ask for this person again
            raise Refusal(422, "bad_name", f"the name {name!r} is a step in an address: take another one")
        return await desk.work(lambda: _enrol(desk, name, recordings, channel))

    @router.post("/{name}/verify", summary="Whether a recording is of this person")
    async def verify(
        name: Name,
        recording: Upload,
        prior: Prior = None,
        false_acceptance: FalseAcceptance = None,
        channel: Channel = "mix",
    ) -> answers.Verification:
        name = checked_name(name)

        def job() -> answers.Verification:
            (heard,) = uploaded([recording], desk.settings, channel)
            by = calls.current().by
            try:
                found = desk.verifier.verify_as(name, heard, *rates(desk, prior, false_acceptance), by)
            except EnrolmentError as error:
                raise refused(name, error) from None
            decided(desk, "verify", found.decision)
            return answers.Verification.model_validate(found.plain())

        return await desk.work(job)

    @router.delete("/{name}", summary="Delete everything of a person; the name goes out of the audit log, too")
    async def delete(name: Name) -> answers.Deleted:
        name = checked_name(name)
        return await desk.work(lambda: _delete(desk, name))

    return router


def _enrol(desk: Desk, name: str, files: list[UploadFile], channel: str) -> answers.Enrolled:
    heard, by = uploaded(files, desk.settings, channel), calls.current().by
    given = heard if len(heard) > 1 else heard[0]
    try:
        found = desk.verifier.enroll(name, given, by, desk.settings.keep_audio)
    except EnrolmentError as error:
        raise out_of_order(error, name) from None
    if desk.beside is not None:
        # too short for that model, say: then /v1/try has no answer of it
        with contextlib.suppress(VoxanchorError):
            desk.beside.enroll(name, given, by)
    desk.metrics.enrolled.inc(found.recordings)
    return answers.Enrolled(person=found.person, recordings=found.recordings, side=side_answer(found.side))


def _enrolments(desk: Desk, name: str) -> list[answers.Enrolment]:
    try:
        found = desk.store.enrolments(name)
    except EnrolmentError as error:
        raise refused(name, error) from None
    return [_enrolment(item) for item in found]


def _enrolment(item: Enrolment) -> answers.Enrolment:
    return answers.Enrolment(
        id=item.id,
        model=item.model,
        created=item.created,
        by=item.by,
        speech_s=item.speech_s,
        snr_db=item.snr_db,
        keeps_audio=item.keeps_audio,
    )


def _comparable(desk: Desk, name: str) -> bool:
    try:
        desk.verifier.people.voice(name)
    except EnrolmentError:
        return False
    return True


def _delete(desk: Desk, name: str) -> answers.Deleted:
    count, remark = len(_enrolments(desk, name)), ""
    try:
        desk.store.delete(name)
    except TracesLeftError:
        # the rows are gone, and the store could not clean its files while another process reads them
        remark = "deleted; traces in the store's files go when other processes have ended"
        calls.current().problem = "deleted, but the store's files could not be cleaned"
    except EnrolmentError as error:  # somebody else may have deleted the person since
        raise refused(name, error) from None
    if desk.beside is not None:
        with contextlib.suppress(EnrolmentError):  # enrolled before this process began
            desk.beside.store.delete(name)
    return answers.Deleted(person=name, recordings=count, remark=remark)
