"""Records of a store, and the checks of everything that enters one."""

import contextlib
import dataclasses
import math
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.errors import EnrolmentError

Kind = Literal["verify", "identify"]
"""What was asked: whether a recording is of one stated person, or of whom it is."""


@dataclass(frozen=True)
class EnrolmentEmbedding:
    """One recording to be enrolled.

    Attributes:
        embedding: (D,) float32 unit vector.
        speech_s: seconds of speech in the recording.
        snr_db: its signal-to-noise ratio.
        source: where it came from, as text: a file's name, a call's number.
        audio: bytes of a FLAC file, only where the owner of the store keeps audio.
    """

    embedding: NDArray[np.float32]
    speech_s: float
    snr_db: float
    source: str = ""
    audio: bytes | None = None


@dataclass(frozen=True)
class Enrolment:
    """One recording that is enrolled, without its embedding.

    Attributes:
        id: number in the store, never used twice.
        person: whose it is.
        model: fingerprint of the model that made the embedding.
        created: when, in UTC, as `2026-05-01T12:00:00.000000Z`.
        by: who enrolled it.
        speech_s: seconds of speech in the recording.
        snr_db: its signal-to-noise ratio.
        source: where it came from.
        keeps_audio: whether the recording itself is kept.

    The service does not answer what is marked ``exclude``, which pydantic reads.
    """

    id: int
    person: str = field(metadata={"exclude": True})
    model: str
    created: str
    by: str
    speech_s: float
    snr_db: float
    source: str = field(metadata={"exclude": True})
    keeps_audio: bool


@dataclass(frozen=True)
class Voiceprint:
    """All enrolments of one person by one model, as one vector.

    Attributes:
        person: whose it is.
        model: fingerprint of the model.
        embedding: (D,) float32, the mean of the recordings' unit vectors, scaled to length 1.
        recordings: how many there are.
        speech_s: sum of their seconds of speech.
        snr_db: mean of their signal-to-noise ratios.
    """

    person: str
    model: str
    embedding: NDArray[np.float32]
    recordings: int
    speech_s: float
    snr_db: float


@dataclass(frozen=True)
class Person:
    """Someone who is enrolled.

    Attributes:
        name: in Unicode's composed form.
        recordings: how many are enrolled.
        models: fingerprints of the models that embedded the recordings.
        created: when the first recording was enrolled, in UTC.
        updated: when the last one was.
    """

    name: str
    recordings: int
    models: tuple[str, ...]
    created: str
    updated: str


@dataclass(frozen=True)
class Match:
    """One person found by a search, and the cosine of the voiceprint to what was searched for, in [-1, 1]."""

    person: str
    cosine: float


@dataclass(frozen=True)
class Decision:
    """One line of the audit log.

    Attributes:
        person: who was claimed or found; None where nobody was found, or where the person was deleted since.
        kind: what was asked.
        decision: the answer: accepted, rejected, abstained, uncalibrated, nobody; unknown for a claim of a name that
            nobody has.
        score: cosine, or whatever the threshold applies to.
        llr: log-likelihood ratio.
        threshold: what the score was compared with.
        model: fingerprint of the model.
        reason: why, where the answer alone does not say.
        by: who asked.
        at: when, in UTC; the store fills it in where it is empty.
    """

    person: str | None
    kind: Kind
    decision: str
    score: float | None
    llr: float | None
    threshold: float | None
    model: str
    reason: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True)
class Reembedded:
    """What embedding the kept audio anew came to.

    Attributes:
        done: recordings that now have an embedding by the new model.
        without_audio: people with recordings whose audio was not kept; those stay as they are.
        failed: people whose audio could not be embedded, and why; nothing of theirs was changed.
    """

    done: int
    without_audio: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Imported:
    """What an import came to: recordings added, and those skipped because the store had them already."""

    recordings: int
    skipped: int


# What may enter a store: names, texts and embeddings, checked once for every kind of store.

LONGEST_NAME = 200

_REFUSED = {"Cc": "a control character", "Cs": "half a surrogate pair", "Zl": "a line break", "Zp": "a line break"}

_NEAR_UNIT = 1e-3
"""An embedding's length may be off by this much, as one that came through half precision is; it is scaled to 1."""

_IS_UNIT = 1e-6
"""Closer than this is left bit for bit as it came, so that what was exported and imported again is the same."""


def person_name(name: str) -> str:
    """Return a person's name in Unicode's composed form (NFC), in which names are kept and compared.

    Raises:
        EnrolmentError: empty, too long, blank at an end, or with a character that no name has.
    """
    with contextlib.suppress(UnicodeError):  # UTF-8 on the command line of a terminal whose locale says ASCII
        name = name.encode("utf-8", "surrogateescape").decode("utf-8")
    composed = unicodedata.normalize("NFC", name)
    if not composed.strip():
        raise EnrolmentError("a person's name is empty: give each person a name or a number")
    if len(composed) > LONGEST_NAME:
        raise EnrolmentError(f"the name {composed[:20]!r}... has {len(composed)} characters, more than {LONGEST_NAME}")
    if composed != composed.strip():
        raise EnrolmentError(f"the name {composed!r} begins or ends with a blank: leave that out")
    for character in composed:
        if what := _REFUSED.get(unicodedata.category(character)):
            raise EnrolmentError(f"the name {composed!r} has {what} in it: leave that out")
    return composed


def model_name(model: str) -> str:
    """Return a model's fingerprint.

    Raises:
        EnrolmentError: an empty one, or one that is not plain text.
    """
    if not model or not model.isprintable():
        raise EnrolmentError(
            f"{model!r} is not a model's fingerprint: give the `fingerprint` of the model that embedded"
        )
    return model


def one_line(text: str) -> str:
    """Return a text that any database takes: what is not Unicode, as in some names of files, is written out.

    In composed form, as names are: a name that stands in it is found when its person is deleted.
    """
    text = unicodedata.normalize("NFC", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def now() -> str:
    """Return the present moment in UTC, in the one form in which the store keeps times, which sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(text: str) -> str:
    """Return a time in the store's own form.

    Raises:
        EnrolmentError: not a time of ISO 8601 with its zone.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise EnrolmentError(f"{text!r} is not a time with its zone, as 2026-05-01T12:00:00Z")
    return read.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unit(embedding: ArrayLike, where: str) -> NDArray[np.float32]:
    """Return an embedding as (D,) float32 of length 1.

    Raises:
        EnrolmentError: another shape, values that are not finite, or a length that is not 1 to 0.001.
    """
    vector = np.asarray(embedding, dtype=np.float32)
    if vector.ndim != 1 or not vector.size:
        raise EnrolmentError(f"{where}: an embedding must be one vector (D,), got {vector.shape}")
    if not np.isfinite(vector).all():
        raise EnrolmentError(f"{where}: the embedding has values that are not finite. Embed the recording again.")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(length - 1.0) > _NEAR_UNIT:
        raise EnrolmentError(f"{where}: the embedding has length {length:.4g}. Scale it to 1 before enrolling it.")
    if abs(length - 1.0) > _IS_UNIT:
        vector = (vector / length).astype(np.float32)
    return np.array(vector)


def checked(recording: EnrolmentEmbedding, where: str) -> EnrolmentEmbedding:
    """Return a recording as the store keeps it.

    Raises:
        EnrolmentError: its embedding, seconds of speech or signal-to-noise ratio cannot be.
    """
    speech_s, snr_db = float(recording.speech_s), float(recording.snr_db)
    if not math.isfinite(speech_s) or speech_s < 0:
        raise EnrolmentError(f"{where}: {speech_s} s of speech. Give the seconds of speech in the recording.")
    if not math.isfinite(snr_db):
        raise EnrolmentError(f"{where}: a signal-to-noise ratio of {snr_db} dB. Give a finite one.")
    return dataclasses.replace(
        recording,
        embedding=unit(recording.embedding, where),
        speech_s=speech_s,
        snr_db=snr_db,
        source=one_line(recording.source),
    )
