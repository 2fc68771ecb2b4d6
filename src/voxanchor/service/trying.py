"""What noise does to a decision: one recording, clean and noisy, judged by two models."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.errors import EnrolmentError
from voxanchor.rng import generator
from voxanchor.scoring.judge import UNCALIBRATED, Voices
from voxanchor.service import answers
from voxanchor.types import SAMPLE_RATE, Waveform
from voxanchor.verification import embedding
from voxanchor.verification.people import People
from voxanchor.verification.recordings import Heard, hear
from voxanchor.verification.result import Side
from voxanchor.verification.verifier import Verifier
from voxanchor.verification.voices import voices_of

if TYPE_CHECKING:
    from voxanchor.audio.bank import NoiseBank


@dataclass(frozen=True)
class Noisy:
    """A recording with noise.

    Attributes:
        heard: clean, then one at each ratio.
        description: what was added.
    """

    heard: tuple[Heard, ...]
    description: str


def with_noise(waveform: Waveform, kind: str, snrs_db: Sequence[float], bank: "NoiseBank", seed: int) -> Noisy:
    """Return a recording and its noisy copies: the same stretch of noise, louder or softer.

    Raises:
        AudioError: the recording is silent, or a recording of noise cannot be read.
        RecipeError: a ratio that cannot be.
    """
    heard, described = [hear(waveform)], ""
    for snr_db in snrs_db:
        made = render(waveform, Condition(kind, snr_db), bank, generator(seed, 0, kind, "try"))
        heard.append(hear(made.waveform))
        described = made.description
    return Noisy(tuple(heard), described)


def voice_of_person(name: str, verifier: Verifier, store_of_served: People | None = None) -> Voices:
    """Return a person's voice as a model knows it.

    Args:
        name: the person.
        verifier: the model, with its own store.
        store_of_served: where else the person may be enrolled with this model: before another one was served.

    Raises:
        EnrolmentError: nobody of that name is enrolled with a model that fits.
    """
    try:
        return verifier.people.voice(name)[0]
    except EnrolmentError:
        if store_of_served is None:
            raise
        return store_of_served.voice(name)[0]


def voice_of_recording(heard: Heard, verifier: Verifier) -> Voices | None:
    """Return a recording as what another is compared with; None where it holds too little speech."""
    return None if verifier.unfit(heard) else voices_of([heard], embedding.embed(verifier.embedder, [heard]))


def judged(
    verifier: Verifier, known: Voices, heard: Sequence[Heard], prior: float, false_acceptance: float | None
) -> list[answers.Judged]:
    """Return what a model says of each recording.

    Raises:
        RecipeError: a prior or rate that cannot be, or that the model's calibration does not support.
    """
    threshold = verifier.judge.threshold(prior, false_acceptance)
    reasons = [verifier.unfit(item) for item in heard]
    fit = [item for item, reason in zip(heard, reasons, strict=True) if not reason]
    rows = iter(embedding.embed(verifier.embedder, fit))
    found = []
    for item, reason in zip(heard, reasons, strict=True):
        if reason:
            found.append(answers.Judged(decision="abstained", score=None, llr=None, threshold=threshold, reason=reason))
            continue
        scores, llrs = verifier.judge.compare(known, voices_of([item], next(rows)[None]))
        found.append(_judged(float(scores[0]), None if llrs is None else float(llrs[0]), threshold))
    return found


def _judged(score: float, llr: float | None, threshold: float | None) -> answers.Judged:
    if llr is None or threshold is None:
        return answers.Judged(decision="uncalibrated", score=score, llr=None, threshold=None, reason=UNCALIBRATED)
    decision: answers.Answer = "accepted" if llr >= threshold else "rejected"
    return answers.Judged(decision=decision, score=score, llr=llr, threshold=threshold, reason="")


def side_answer(side: Side) -> answers.Side:
    """Return one side of a comparison as the service answers it."""
    return answers.Side(**vars(side.quality), recordings=side.recordings, warnings=list(side.warnings))


def points(
    noisy: Noisy, snrs_db: Sequence[float], served: list[answers.Judged], beside: list[answers.Judged] | None
) -> list[answers.Point]:
    """Return the recording as it came, then at each ratio."""
    return [
        answers.Point(
            snr_db=snr_db,
            served=served[place],
            beside=None if beside is None else beside[place],
            side=side_answer(Side(noisy.heard[place].quality, warnings=noisy.heard[place].warnings)),
        )
        for place, snr_db in enumerate((None, *snrs_db))
    ]


def wav(waveform: Waveform) -> str:
    """Return a WAV file of 16 bits in base64, scaled down only where it is beyond full scale."""
    peak = max(1.0, float(np.abs(waveform).max()))
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform / peak, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
