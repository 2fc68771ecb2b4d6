"""Routes about people and decisions: uploads, enrol, verify, identify, and the trial in noise."""

import base64
import contextlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import soundfile
from fastapi import APIRouter, File, Form, Path, Query, UploadFile

from voxanchor.audio.downmix import Channel, channels_of
from voxanchor.audio.io import AudioFile
from voxanchor.conditions.spec import Condition
from voxanchor.enrolments.records import Decision, Enrolment, Person, person_name
from voxanchor.errors import (
    AudioError,
    EnrolmentError,
    OtherModelError,
    TracesLeftError,
    UnknownPersonError,
    VoxanchorError,
)
from voxanchor.rng import generator
from voxanchor.scoring.backend import UNCALIBRATED, EmbeddingSet
from voxanchor.service import requests, schema
from voxanchor.service.engine import AppContext
from voxanchor.service.requests import Refusal, StoreError
from voxanchor.service.settings import Settings
from voxanchor.types import SAMPLE_RATE, Waveform
from voxanchor.verification import embedding
from voxanchor.verification.people import People, embedding_set
from voxanchor.verification.recordings import LoadedAudio, Long, load_audio
from voxanchor.verification.result import Answer, Enrolled, Identification, Side, Verification
from voxanchor.verification.verifier import CERTAINTY, Verifier

if TYPE_CHECKING:
    from voxanchor.conditions.bank import NoiseBank


_ONLY = "the recording"
_VERB = re.compile(r"^(?:the recording|recording \d+): (?=(?:is|has|holds|lasts|cannot|does) )")
"""What stands before a colon is the subject of what stands behind it."""

_SAMPLE_BYTES = 4
_READABLE = "WAV, FLAC, Ogg, Opus, MP3 and AIFF can be read, and where PyAV is installed M4A, MP4, WebM and AMR"


def recordings(files: Sequence[UploadFile], settings: Settings, channel: str = "mix") -> list[LoadedAudio]:
    """Return uploaded recordings as a verifier takes them.

    A file is recognised by its content alone: its name and type may be anything. Each is copied into a temporary file,
    which is removed once it has been read.

    Args:
        files: as they were uploaded.
        settings: the limits.
        channel: which channel of them is taken, or of each, with commas between.

    Raises:
        RecipeError: no such channel.
        AudioError: a file that cannot be read; files are called by their place, not their name.
        TooLongError: a recording lasts longer than the limit.
        Refusal: too many recordings, or one that is larger than the limit.
    """
    if len(files) > settings.max_recordings:
        raise Refusal(413, "too_large", f"{len(files)} recordings; at most {settings.max_recordings} at once")
    chosen = channels_of(channel, len(files))
    call = requests.current()
    found = []
    for number, (file, one) in enumerate(zip(files, chosen, strict=True), start=1):
        call.deadline.check()
        heard = _recording(file, f"recording {number}" if len(files) > 1 else _ONLY, settings, one)
        call.audio_s += heard.quality.duration_s
        found.append(heard)
    return found


def _recording(upload: UploadFile, name: str, settings: Settings, channel: Channel) -> LoadedAudio:
    upload.file.seek(0)
    copy = AudioFile.copied(upload.file, name)
    heard: LoadedAudio | None = None
    try:
        _refuse_large(copy, settings)
        heard = load_audio(copy, channel=channel, longest_s=settings.max_duration_s)
    except AudioError as error:
        text = str(error)
        if "not a readable recording" in text:  # the decoder's own reason is a guess about the copy
            text = f"{'this is no recording' if name == _ONLY else f'{name} is not one'}: {_READABLE}"
        raise type(error)(_VERB.sub(f"{name} ", text)) from None
    finally:
        if heard is None or not isinstance(heard.sound, Long):
            copy.close()
    return heard


def _refuse_large(file: AudioFile, settings: Settings) -> None:
    """Check a recording's size when decoded, as far as its header states it.

    Raises:
        Refusal: it is larger than the limit.
        AudioError: it cannot be read.
    """
    with file.decoder() as decoder:
        size = (decoder.frames or 0) * decoder.channels * _SAMPLE_BYTES
    if size > settings.max_decoded_bytes:
        limit = settings.max_decoded_bytes // 2**20
        text = f"{file.name} would be {size // 2**20} MiB decoded; at most {limit} MiB are taken"
        raise Refusal(413, "too_large", text)


# What noise does to a decision: one recording, clean and noisy, scored by two models.


@dataclass(frozen=True)
class Noisy:
    """A recording with noise.

    Attributes:
        audio: clean, then one at each ratio.
        description: what was added.
    """

    audio: tuple[LoadedAudio, ...]
    description: str


def with_noise(waveform: Waveform, kind: str, snrs_db: Sequence[float], bank: "NoiseBank", seed: int) -> Noisy:
    """Return a recording and its noisy copies: the same stretch of noise, louder or softer.

    Raises:
        AudioError: the recording is silent, or a recording of noise cannot be read.
        RecipeError: a ratio that cannot be.
    """
    from voxanchor.conditions.render import render  # here, so that nothing of it is loaded before noise is asked for

    audio, description = [load_audio(waveform)], ""
    for snr_db in snrs_db:
        rendered = render(waveform, Condition(kind, snr_db), bank, generator(seed, 0, kind, "try"))
        audio.append(load_audio(rendered.waveform))
        description = rendered.description
    return Noisy(tuple(audio), description)


def person_embedding(name: str, verifier: Verifier, served: People | None = None) -> EmbeddingSet:
    """Return a person's voiceprint as the enrolment of a trial.

    Args:
        name: the person.
        verifier: the model, with its own store.
        served: the store of the served model, where this model may have enrolled the person before another was served.

    Raises:
        EnrolmentError: nobody of that name is enrolled with a model that fits.
    """
    try:
        return verifier.people.enrolment(name)[0]
    except EnrolmentError:
        if served is None:
            raise
        return served.enrolment(name)[0]


def recording_embedding(audio: LoadedAudio, verifier: Verifier) -> EmbeddingSet | None:
    """Return a recording as the enrolment of a trial; None where it holds too little speech."""
    return None if verifier.unfit(audio) else embedding_set([audio], embedding.embed(verifier.embedder, [audio]))


def scored(
    verifier: Verifier,
    enrolment: EmbeddingSet,
    tests: Sequence[LoadedAudio],
    prior: float,
    false_acceptance: float | None,
) -> list[schema.Scored]:
    """Return a model's result for the trial of an enrolment with each test recording.

    Raises:
        RecipeError: a prior or rate that cannot be, or that the model's calibration does not support.
    """
    threshold = verifier.backend.threshold(prior, false_acceptance)
    reasons = [verifier.unfit(test) for test in tests]
    usable = [test for test, reason in zip(tests, reasons, strict=True) if not reason]
    rows = iter(embedding.embed(verifier.embedder, usable))
    found = []
    for test, reason in zip(tests, reasons, strict=True):
        if reason:
            found.append(schema.Scored(decision="abstained", score=None, llr=None, threshold=threshold, reason=reason))
            continue
        scores, llrs = verifier.backend.compare(enrolment, embedding_set([test], next(rows)[None]))
        found.append(_scored(float(scores[0]), None if llrs is None else float(llrs[0]), threshold))
    return found


def _scored(score: float, llr: float | None, threshold: float | None) -> schema.Scored:
    if llr is None or threshold is None:
        return schema.Scored(decision="uncalibrated", score=score, llr=None, threshold=None, reason=UNCALIBRATED)
    decision: Answer = "accepted" if llr >= threshold else "rejected"
    return schema.Scored(decision=decision, score=score, llr=llr, threshold=threshold, reason="")


def points(
    noisy: Noisy, snrs_db: Sequence[float], served: list[schema.Scored], beside: list[schema.Scored] | None
) -> list[schema.Point]:
    """Return the results for the recording as it came, then at each ratio."""
    return [
        schema.Point(
            snr_db=snr_db,
            served=served[place],
            beside=None if beside is None else beside[place],
            side=Side.with_quality(audio.quality, warnings=audio.warnings),
        )
        for place, (snr_db, audio) in enumerate(zip((None, *snrs_db), noisy.audio, strict=True))
    ]


def wav(waveform: Waveform) -> str:
    """Return a WAV file of 16 bits in base64, scaled down only where it is beyond full scale."""
    peak = max(1.0, float(np.abs(waveform).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform / peak, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


# Routes about people: enrol, list, look, verify, delete.

Name = Annotated[str, Path(description="The person: up to 200 characters, no slash. Kept in Unicode's composed form.")]
Upload = Annotated[UploadFile, File(description="A recording in a common format, of any rate and channel count.")]
Uploads = Annotated[list[UploadFile], File(description="One or several recordings of the person.")]
Prior = Annotated[
    float | None,
    Form(gt=0, lt=1, description="Prior probability of the same speaker; else the service's."),
]
FalseAcceptance = Annotated[
    float | None, Form(gt=0, lt=100, description="In percent, in place of a prior: one of /v1/model's thresholds.")
]
ChannelField = Annotated[
    str, Form(description="Which channel is taken: mix, loudest, left, right, or a number; of several, with commas.")
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
    """Return the refusal for an error about a person: unknown, of another model, or a store that cannot be used."""
    if isinstance(error, UnknownPersonError):
        return Refusal(404, "unknown_person", str(error))
    if isinstance(error, OtherModelError):
        return Refusal(409, "other_model", str(error))
    return out_of_order(error, name)


def out_of_order(error: EnrolmentError, name: str = "") -> StoreError:
    """Return the error for a store that cannot be used; the log gets its message, without names of people."""
    text = str(error).replace(name, "(name)") if name else str(error)
    names_others = isinstance(error, UnknownPersonError | OtherModelError)
    requests.current().problem = type(error).__name__ if names_others else text
    return StoreError()


def rates(context: AppContext, prior: float | None, false_acceptance: float | None) -> tuple[float, float | None]:
    """Return the prior and rate of false acceptance of a request; without either those of the service."""
    if prior is None and false_acceptance is None:
        return context.settings.prior, context.settings.false_acceptance
    return prior or context.settings.prior, false_acceptance


def decided(context: AppContext, kind: str, decision: str) -> None:
    """Count a decision and note it for the log."""
    context.metrics.decisions.labels(kind, decision).inc()
    requests.current().decision = decision


def people_routes(context: AppContext) -> APIRouter:
    """Return the routes under ``/v1/people``."""
    router = APIRouter(prefix="/v1/people", tags=["people"])

    @router.get("", summary="Everybody who is enrolled, in the order of names")
    async def people() -> list[Person]:
        def job() -> list[Person]:
            try:
                return context.store.people()
            except EnrolmentError as error:
                raise out_of_order(error) from None

        return await context.work(job)

    @router.get("/{name}", summary="One person's enrolments")
    async def person(name: Name) -> schema.PersonDetail:
        name = checked_name(name)

        def job() -> schema.PersonDetail:
            found = _enrolments(context, name)
            return schema.PersonDetail(name=name, comparable=_comparable(context, name), enrolments=found)

        return await context.work(job)

    @router.post("/{name}", summary="Enrol: add recordings to a person, all of them or none", status_code=201)
    async def enrol(name: Name, recordings: Uploads, channel: ChannelField = "mix") -> Enrolled:
        name = checked_name(name)
        if name in _STEPS:  # browsers and curl take them out of an address: nobody could ask for this person again
            raise Refusal(422, "bad_name", f"the name {name!r} is a step in an address: take another one")
        return await context.work(lambda: _enrol(context, name, recordings, channel))

    @router.post("/{name}/verify", summary="Whether a recording is of this person")
    async def verify(
        name: Name,
        recording: Upload,
        prior: Prior = None,
        false_acceptance: FalseAcceptance = None,
        channel: ChannelField = "mix",
    ) -> Verification:
        name = checked_name(name)

        def job() -> Verification:
            (test,) = recordings([recording], context.settings, channel)
            by = requests.current().by
            try:
                found = context.verifier.verify_as(name, test, *rates(context, prior, false_acceptance), by)
            except EnrolmentError as error:
                raise refused(name, error) from None
            decided(context, "verify", found.decision)
            return found

        return await context.work(job)

    @router.delete("/{name}", summary="Delete everything of a person; the name goes out of the audit log, too")
    async def delete(name: Name) -> schema.Deleted:
        name = checked_name(name)
        return await context.work(lambda: _delete(context, name))

    return router


def _enrol(context: AppContext, name: str, files: list[UploadFile], channel: str) -> Enrolled:
    audio, by = recordings(files, context.settings, channel), requests.current().by
    given = audio if len(audio) > 1 else audio[0]
    try:
        found = context.verifier.enroll(name, given, by, context.settings.keep_audio)
    except EnrolmentError as error:
        raise out_of_order(error, name) from None
    if context.beside is not None:
        # too short for that model, say: then /v1/try has no answer of it
        with contextlib.suppress(VoxanchorError):
            context.beside.enroll(name, given, by)
    context.metrics.enrolled.inc(found.recordings)
    return found


def _enrolments(context: AppContext, name: str) -> list[Enrolment]:
    try:
        return context.store.enrolments(name)
    except EnrolmentError as error:
        raise refused(name, error) from None


def _comparable(context: AppContext, name: str) -> bool:
    try:
        context.verifier.people.enrolment(name)
    except EnrolmentError:
        return False
    return True


def _delete(context: AppContext, name: str) -> schema.Deleted:
    count, remark = len(_enrolments(context, name)), ""
    try:
        with requests.current().deadline.writing():
            context.store.delete(name)
    except TracesLeftError:
        # the rows are gone, and the store could not clean its files while another process reads them
        remark = "deleted; traces in the store's files go when other processes have ended"
        requests.current().problem = "deleted, but the store's files could not be cleaned"
    except EnrolmentError as error:  # somebody else may have deleted the person since
        raise refused(name, error) from None
    if context.beside is not None:
        with contextlib.suppress(EnrolmentError):  # enrolled before this process began
            context.beside.store.delete(name)
    return schema.Deleted(person=name, recordings=count, remark=remark)


# Routes that decide: on two recordings, on one and everybody enrolled, on one in noise; and the log of decisions.

MOST_SNRS = 12

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
    Form(description="Signal-to-noise ratios in dB.", min_length=1, max_length=MOST_SNRS),
]


def decision_routes(context: AppContext) -> APIRouter:
    """Return the routes under ``/v1`` that decide on recordings, and that of the log."""
    router = APIRouter(prefix="/v1", tags=["decisions"])

    @router.post("/verify", summary="Whether two recordings are of one voice; not kept in the audit log")
    async def verify(
        first: Upload,
        second: Upload,
        prior: Prior = None,
        false_acceptance: FalseAcceptance = None,
        channel: ChannelField = "mix",
    ) -> Verification:
        def job() -> Verification:
            pair = recordings([first, second], context.settings, channel)
            found = context.verifier.verify(pair[0], pair[1], *rates(context, prior, false_acceptance))
            decided(context, "pair", found.decision)
            return found

        return await context.work(job)

    @router.post("/identify", summary="Whose voice a recording is, of all who are enrolled, or that it is nobody's")
    async def identify(
        recording: Upload,
        top: Annotated[int, Form(ge=1, le=100, description="Candidates to return.")] = 5,
        prior: Prior = None,
        false_acceptance: ListFalseAcceptance = None,
        certainty: Annotated[
            float, Form(ge=0, lt=1, description="The likeliest is the answer when more probable than this.")
        ] = CERTAINTY,
        channel: ChannelField = "mix",
    ) -> Identification:
        asked = rates(context, prior, false_acceptance)
        return await context.work(lambda: _identify(context, recording, channel, top, asked, certainty))

    @router.post("/embed", summary="The unit vector of a recording")
    async def embed(recording: Upload, channel: ChannelField = "mix") -> schema.Embedding:
        def job() -> schema.Embedding:
            row = context.verifier.embed(recordings([recording], context.settings, channel)[0])
            return schema.Embedding(model=context.verifier.fingerprint, embedding=row.tolist())

        return await context.work(job)

    @router.get("/decisions", summary="The audit log, newest first")
    async def decisions(
        person: Annotated[str | None, Query(description="Decisions about one person alone.")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[Decision]:
        name = None if person is None else checked_name(person)

        def job() -> list[Decision]:
            try:
                return context.store.decisions(name, limit)
            except EnrolmentError as error:
                raise out_of_order(error) from None

        return await context.work(job)

    return router


def _identify(
    context: AppContext,
    upload: UploadFile,
    channel: str,
    top: int,
    asked: tuple[float, float | None],
    certainty: float,
) -> Identification:
    (test,) = recordings([upload], context.settings, channel)
    by = requests.current().by
    try:
        found = _unless_deleted(
            lambda: context.verifier.identify(
                test, top, prior=asked[0], false_acceptance=asked[1], certainty=certainty, by=by
            )
        )
    except OtherModelError as error:
        raise Refusal(409, "other_model", str(error)) from None
    except EnrolmentError as error:
        raise out_of_order(error) from None
    decided(context, "identify", found.decision)
    return found


def _unless_deleted(identify: Callable[[], Identification]) -> Identification:
    """Return the answer; where a candidate was deleted while it was sought, once more without them.

    Raises:
        EnrolmentError: as `Verifier.identify`.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(UnknownPersonError):
            return identify()
    return identify()


def noise_routes(context: AppContext) -> APIRouter:
    """Return the route that shows what noise does to a decision."""
    router = APIRouter(prefix="/v1", tags=["decisions"])

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
        channel: ChannelField = "mix",
    ) -> schema.NoiseTrial:
        noise = context.noise
        if noise is None or kind not in noise.kinds:
            known = ", ".join(noise.kinds) if noise else "none"
            raise Refusal(422, "bad_request", f"kind: no noise of this kind; there is {known}")
        if (person is None) == (reference is None):
            raise Refusal(422, "bad_request", "give a person or a reference recording, one of them")
        name = None if person is None else checked_name(person)
        files = [recording] if reference is None else [recording, reference]
        asked = rates(context, prior, false_acceptance)

        def job() -> schema.NoiseTrial:
            test, *others = (audio.waveform for audio in recordings(files, context.settings, channel))
            noisy = with_noise(test, kind, snr_db, noise.bank, seed)
            requests.current().deadline.check()
            served = scored(context.verifier, _enrolment(context, context.verifier, name, others), noisy.audio, *asked)
            beside, remark = None, "no model beside it is served"
            if context.beside is not None:
                try:
                    enrolment = _enrolment(context, context.beside, name, others)
                    beside, remark = scored(context.beside, enrolment, noisy.audio, *asked), ""
                except Refusal as refusal:
                    remark = str(refusal.detail)
            clean, *found = points(noisy, snr_db, served, beside)
            return schema.NoiseTrial(
                kind=kind,
                noise=noisy.description,
                clean=clean,
                noisy=found,
                beside_remark=remark,
                audio=wav(noisy.audio[1].waveform) if audio else None,
            )

        return await context.work(job)

    return router


def _enrolment(context: AppContext, verifier: Verifier, name: str | None, others: list[Waveform]) -> EmbeddingSet:
    """Return the enrolment of a trial: a person's, or else that of the reference recording.

    Raises:
        Refusal: nobody of that name, or not by this model; or a reference that holds too little speech.
    """
    if name is None:
        reference = load_audio(others[0], "the reference")
        found = recording_embedding(reference, verifier)
        if found is None:
            raise Refusal(422, "unusable_audio", verifier.unfit(reference))
        return found
    served = None if verifier is context.verifier else People(context.store, verifier.fingerprint)
    try:
        return person_embedding(name, verifier, served)
    except EnrolmentError as error:
        if served is not None:
            raise Refusal(409, "other_model", "not enrolled with this model: enrol again to compare") from None
        raise refused(name, error) from None
