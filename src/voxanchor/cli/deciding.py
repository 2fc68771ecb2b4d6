"""The commands that decide who speaks: enroll, verify, verify-as, identify."""

import sys
from typing import TYPE_CHECKING

from tyro.conf import Positional

from voxanchor.cli.shared import (
    Device,
    Json,
    Model,
    Name,
    Percent,
    Probability,
    Recording,
    Recordings,
    Seconds,
    SomeFile,
    Store,
    existing_store,
    loading,
    no_empty_store,
    print_json,
    store_key,
)

if TYPE_CHECKING:
    from voxanchor.scoring.calibration_record import SearchRate
    from voxanchor.verification.result import Identification, Side, Verification

STATUS = {"accepted": 0, "uncalibrated": 8, "abstained": 8, "rejected": 11}
"""Exit status by decision: 0 lets somebody in, and nothing else is 0."""


def verify(
    first: Positional[Recording],
    second: Positional[Recording],
    model: Model,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Decide whether two recordings are of one speaker.

    A model without a calibration gives the score alone. Exit status: 0 accepted, 11 rejected, 8 no decision: a
    recording holds too little speech to say, or a score alone.

    Example: voxanchor verify enrolment.wav test.wav --model runs/calibrated

    Args:
        first: the one recording.
        second: the other.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        prior: probability of one speaker before anything was heard.
        false_acceptance: take the threshold at this rate in percent instead, one of those in calibration.md.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number. Two of them, as in
            mix,right, are for the first recording and the second.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, score, llr, threshold and the quality of both sides.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channels_of

    one, other = channels_of(channel, 2)
    verifier = voxanchor.load(model, longest_s=longest_s, device=device)
    return _answer(verifier.verify(first, second, prior, false_acceptance, (one, other)), json)


def enroll(
    name: Positional[Name],
    files: Positional[Recordings],
    model: Model,
    store: Store,
    key: SomeFile = None,
    by: str = "",
    keep_audio: bool = False,
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Enrol a person with one or several recordings.

    All of them are enrolled, or none. `voxanchor enrol` is the same command.

    Example: voxanchor enroll "Ada Lovelace" a.wav b.wav --model runs/calibrated --store people.db

    Args:
        name: the person, who need not be new.
        files: recordings of the person, several and from several days if there are.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        by: your name, to be noted with the enrolment.
        keep_audio: keep the recordings in the store, so that another model can embed them anew; up to 600 s
            each.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print what was enrolled.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with no_empty_store(store), voxanchor.load(model, store, store_key(key), longest_s, device) as verifier:
        made = verifier.enroll(name, files, by, keep_audio, heard)
    if json:
        quality = vars(made.side.quality)
        print_json({"person": made.person, "recordings": made.recordings, **quality, "warnings": made.side.warnings})
        return 0
    print(f"{made.person}: {made.recordings} recording{'s' * (made.recordings > 1)} enrolled, {_words(made.side)}")
    _warn(made.side.warnings)
    return 0


def verify_as(
    name: Positional[Name],
    recording: Positional[Recording],
    model: Model,
    store: Store,
    key: SomeFile = None,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    by: str = "",
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Decide whether a recording is of a person who is enrolled.

    The decision goes into the store's log. Exit status: 0 accepted, 11 rejected, 8 no decision: too little speech to
    say, or a model without a calibration; 10 nobody of that name.

    Example: voxanchor verify-as "Ada Lovelace" call.wav --model runs/calibrated --store people.db

    Args:
        name: whose voice it is claimed to be.
        recording: what was heard.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        prior: probability that the claim is true before anything was heard.
        false_acceptance: take the threshold at this rate in percent instead, one of those in calibration.md.
        by: your name, to be noted in the store's log.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, score, llr, threshold and quality.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with voxanchor.load(model, existing_store(store), store_key(key), longest_s, device) as verifier:
        return _answer(verifier.verify_as(name, recording, prior, false_acceptance, by, heard), json)


def identify(
    recording: Positional[Recording],
    model: Model,
    store: Store,
    key: SomeFile = None,
    top: int = 5,
    prior: Probability = 0.01,
    false_acceptance: Percent = None,
    certainty: Probability = 0.5,
    by: str = "",
    channel: str = "mix",
    longest_s: Seconds = 21600.0,
    device: Device = "auto",
    json: Json = False,
) -> int:
    """Say whose voice it is, of all who are enrolled, or nobody's.

    It is the likeliest person where verify-as, with the same options, would accept that claim, too. The answer goes
    into the store's log.

    Exit status: 0 somebody, 11 nobody, 8 no decision: too little speech to say, or a model without a calibration.

    Example: voxanchor identify call.wav --model runs/calibrated --store people.db

    Args:
        recording: what was heard.
        model: the model to use, best one that was calibrated; `voxanchor models` lists what it may be.
        store: who is enrolled: an SQLite file, or postgresql://... for a database with pgvector.
        key: file with the key that the store is encrypted with (`voxanchor people key`).
        top: how many candidates to list.
        prior: probability of one speaker before anything was heard, of the recording and any one person.
        false_acceptance: take the threshold at which at most so many strangers, in percent, are taken for somebody on
            the whole list instead; it rises with the number of people.
        certainty: the likeliest is the answer when more probable than this, all others and nobody taken into account.
        by: your name, to be noted in the store's log.
        channel: which channel is heard: mix (the mean of all), loudest, left, right, or its number.
        longest_s: a longer recording is an error; the memory does not depend on it.
        device: where the model runs: cpu, cuda, cuda:1 or mps; auto is CUDA where there is one, else the processor.
        json: print decision, candidates, probabilities, threshold, rate of false acceptance and quality.
    """
    loading(model, job=False)
    import voxanchor
    from voxanchor.audio.downmix import channel_of

    heard = channel_of(channel)
    with voxanchor.load(model, existing_store(store), store_key(key), longest_s, device) as verifier:
        found = verifier.identify(
            recording,
            top,
            prior=prior,
            false_acceptance=false_acceptance,
            certainty=certainty,
            by=by,
            channel=heard,
        )
    if json:
        print_json(found.plain())
    else:
        _tell(found)
    return STATUS[found.decision]


def _answer(found: "Verification", as_json: bool) -> int:
    if as_json:
        print_json({"accepted": found.accepted, **found.plain()})
    elif found.decision == "abstained":
        print(f"abstained: {found.reason}")
    elif found.llr is None or found.threshold is None:
        print(f"{found.score:.4f}")
        print(f"no decision: {found.reason}", file=sys.stderr)
    else:
        asked = _asked(found.threshold, found.prior)
        print(f"{found.decision}: log-likelihood ratio {found.llr:.2f}, {asked}")
        print(f"score {found.score:.4f}; " + "; ".join(_words(side) for side in found.sides))
    if not as_json:
        _warn(found.warnings)
    return STATUS[found.decision]


def _tell(found: "Identification") -> None:
    if found.decision == "abstained":
        print(f"abstained: {found.reason}")
        _warn(found.side.warnings)
        return
    print(found.person or ("nobody" if found.decision == "rejected" else "no decision"))
    for item in found.candidates:
        chance = "" if item.probability is None else f"  probability {item.probability:.3f}, llr {item.llr:.2f}"
        print(f"  {item.person}  score {item.score:.4f}{chance}")
    if found.nobody is not None:
        print(f"  nobody  probability {found.nobody:.3f}")
    if found.threshold is not None and found.people:
        searched = f"{found.people} {'person' if found.people == 1 else 'people'} searched"
        print(f"{searched}, {_asked(found.threshold, found.prior)}; {_rate(found.false_acceptance)}")
    if found.remark:
        print(f"note: {found.remark}")
    if found.reason:
        print(f"({found.reason})", file=sys.stderr)
    _warn((*found.side.warnings, *(f"{item.person}: {item.warning}" for item in found.candidates if item.warning)))


def _asked(threshold: float, prior: float | None) -> str:
    return f"threshold {threshold:.2f}" + ("" if prior is None else f" for a prior of {prior:g}")


def _rate(found: "SearchRate") -> str:
    if found.rate is None:
        return f"the share of strangers who are taken for somebody is not stated: {found.remark}"
    most = "" if found.highest is None else f" over all conditions, {found.highest:.2g} % in {found.condition}"
    return f"of strangers at most {found.rate:.2g} % are taken for somebody{most} ({found.remark})"


def _words(side: "Side") -> str:
    return f"{side.quality.speech_s:.1f} s of speech, about {side.quality.snr_db:.0f} dB above the noise"


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
