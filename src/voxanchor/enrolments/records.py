"""What a store of enrolments takes in and gives back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["verify", "identify"]
"""What was asked: whether a recording is of one stated person, or of whom it is."""


@dataclass(frozen=True)
class Print:
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
    """

    id: int
    person: str
    model: str
    created: str
    by: str
    speech_s: float
    snr_db: float
    source: str
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
    """Someone who is enrolled: by which models, with how many recordings, first and last when."""

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
