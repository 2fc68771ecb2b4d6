"""The verifier: embed recordings, compare two of them, enrol people and identify them.

A trial is accepted when its log-likelihood ratio reaches the threshold. An identification accepts a person by the same
rule, and only the likeliest of all, where that is more probable than all others and nobody together: so nobody is
identified whom `Verifier.verify_as` would reject.
"""

import io
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from voxanchor.audio.downmix import Channel
from voxanchor.audio.snr import USUAL_LEVEL_DB
from voxanchor.enrolments.records import Decision, EnrolmentEmbedding, Kind, Reembedded
from voxanchor.enrolments.store import Store, open_store
from voxanchor.errors import AudioError, RecipeError, UnknownPersonError
from voxanchor.scoring.backend import PRIOR, UNCALIBRATED, EmbeddingSet, ScoringBackend, posteriors
from voxanchor.types import SAMPLE_RATE, Embeddings
from voxanchor.verification import embedding
from voxanchor.verification.embedding import Embedder, embed
from voxanchor.verification.people import (
    NearEnrolment,
    OlderModel,
    People,
    embedding_set,
    joint_quality,
    replayed,
    stacked,
)
from voxanchor.verification.recordings import (
    LONGEST_S,
    LoadedAudio,
    Recording,
    flac,
    is_one,
    load_all_audio,
    load_audio,
)
from voxanchor.verification.result import Candidate, Enrolled, Identification, Side, Verification

SHORTLIST = 100
"""Enrolments that are scored, at least: the nearest by cosine need not have the highest likelihood ratio."""

CERTAINTY = 0.5
"""How probable the likeliest has to be, where nothing else is asked for: more than all others and nobody together."""


@dataclass(frozen=True)
class Rule:
    """What an identification is decided by.

    Attributes:
        top: candidates to return.
        prior: prior probability of the same speaker, as where a claim is verified.
        false_acceptance: strangers who are taken for somebody on the list, in percent, at most; in place of the prior.
        certainty: the likeliest is the answer when more probable than this.

    Raises:
        RecipeError: numbers that cannot be.
    """

    top: int = 5
    prior: float = PRIOR
    false_acceptance: float | None = None
    certainty: float = CERTAINTY

    def __post_init__(self) -> None:
        if self.top < 1 or not 0 < self.prior < 1 or not 0 <= self.certainty < 1:
            raise RecipeError("identify: top is at least 1, prior lies between 0 and 1, and certainty is below 1")


def identification(
    people: People, backend: ScoringBackend, rule: Rule, test: EmbeddingSet | None, side: Side, reason: str
) -> Identification:
    """Return which enrolled person a test recording is of, if any; see `Verifier.identify`.

    Args:
        people: who is enrolled.
        backend: what decides.
        rule: what to go by.
        test: the recording; None where it cannot be compared.
        side: its quality.
        reason: why it cannot be compared; empty when it can.

    Raises:
        RecipeError: a rate of false acceptance that cannot be, or that the calibration does not support.
        EnrolmentError: nobody is enrolled with a model that fits.
    """
    count = people.count()
    threshold = backend.search_threshold(rule.prior, rule.false_acceptance, count)
    prior = rule.prior if rule.false_acceptance is None else None
    rate = backend.search_rate(threshold, count)
    blank = Identification("abstained", None, (), None, side, threshold, prior, count, rate, reason)
    if test is None:
        return blank
    near = people.nearest(test.embeddings, max(rule.top, SHORTLIST))
    if not near:
        nobody = 1.0 if backend.record else None
        return replace(blank, decision="rejected", nobody=nobody, reason="nobody is enrolled")
    scores, llrs = backend.compare(test, stacked(near))
    if llrs is None or threshold is None:
        ranked = sorted(zip(near, scores.tolist(), strict=True), key=lambda item: (-item[1], item[0].person))
        found = tuple(
            Candidate(item.person, score, None, None, _warnings(item, test)) for item, score in ranked[: rule.top]
        )
        return replace(blank, decision="uncalibrated", candidates=found, reason=UNCALIBRATED)
    order = sorted(range(len(near)), key=lambda place: (-llrs[place], near[place].person))
    ratios = [float(llrs[place]) for place in order]
    probabilities, nobody = posteriors(ratios, max(count, len(near)), threshold)
    candidates = tuple(
        Candidate(near[place].person, float(scores[place]), ratio, probability, _warnings(near[place], test))
        for place, ratio, probability in zip(order[: rule.top], ratios, probabilities, strict=False)
    )
    ranked_answer = replace(blank, decision="rejected", candidates=candidates, nobody=nobody)
    alone = _claim_llr(backend, near[order[0]], test)
    if alone >= threshold and probabilities[0] > rule.certainty:
        return replace(ranked_answer, decision="accepted", person=candidates[0].person)
    return replace(ranked_answer, remark=_as_a_claim(backend, rule, ranked_answer, alone))


def _warnings(enrolment: NearEnrolment, test: EmbeddingSet) -> str:
    return "; ".join(filter(None, (enrolment.warning, *replayed(enrolment.embedding, test.embeddings))))


def _claim_llr(backend: ScoringBackend, enrolment: NearEnrolment, test: EmbeddingSet) -> float:
    """Return the log-likelihood ratio of one trial."""
    # in the order of sides and the batch size of `Verifier.verify_as`: another one rounds differently, and the two
    # decisions must never differ
    llrs = backend.compare(stacked([enrolment]), test)[1]
    assert llrs is not None
    return float(llrs[0])


def _as_a_claim(backend: ScoringBackend, rule: Rule, found: Identification, llr: float) -> str:
    """Return why nobody is the answer although the likeliest would be accepted as a claim; empty where it would not."""
    known, best = backend.threshold_if_known(rule.prior, rule.false_acceptance), found.candidates[0]
    if known is None or found.threshold is None or llr < known:
        return ""
    claim = f"verified as {best.person} it would be accepted (log-likelihood ratio {llr:.2f}, threshold {known:.2f})"
    if llr < found.threshold:
        return (
            f"{claim}, but for at most {rule.false_acceptance:g} % of strangers to be taken for one of {found.people} "
            f"people the threshold is {found.threshold:.2f}"
        )
    return (
        f"{claim}, but among {found.people} people the probability is {best.probability:.2f}, and more than "
        f"{rule.certainty:g} is asked for"
    )


# The verifier: embed recordings, compare two of them, enrol people and identify them.

MIN_SPEECH_S = 0.5
"""Less active speech than this carries no reliable voice: the verifier abstains."""

STEADY_DB = -8.0
"""A sound whose loud parts rise above its quiet ones by less is steady: noise or a tone. Speech in white noise of 5 dB
more than itself is below it in 1 of 125 recordings, white noise alone always."""

LEAST_LEVEL_DB = -80.0
"""Active level in dBFS of speech that a 16-bit recorder keeps in two or three steps."""

LEVEL_WARNING_DB, LEVEL_LIMIT_DB = 6.0, 12.0
"""How far from the usual level a recording is warned of, and not decided on, where the model hears level. At the
threshold of GE2E for 1 %, 6 % of strangers pass if both are 10 dB quieter, 42 % at 20 dB (docs/models/ge2e.md)."""

HEARS_LEVEL = (
    "this model, made before recordings were brought to one level, takes loudness for a part of the voice: make it "
    "anew with voxanchor robustify, and calibrate it again"
)

NARROW = "nothing above {:.0f} Hz, as over a telephone: a voice enrolled over another line scores lower"
"""The warning of a narrow band where no calibration says which bands it was fitted on."""


class Verifier:
    """A model with its calibration and the people enrolled with it. Several threads may use one at once.

    Args:
        embedder: the model.
        backend: its calibration and cohort.
        store: who is enrolled; by default in memory, gone with the verifier.
        older: a model whose voiceprints may be used, too.
        longest_s: a longer recording is an error.
        writing: entered around every change of the store, and may refuse it by raising.
    """

    def __init__(
        self,
        embedder: Embedder,
        backend: ScoringBackend | None = None,
        store: Store | None = None,
        older: OlderModel | None = None,
        longest_s: float = LONGEST_S,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        if not longest_s > 0:
            raise RecipeError(f"the longest recording must last longer than 0 s, not {longest_s:g} s")
        self.embedder = embedder
        self.longest_s = longest_s
        self.backend = backend or ScoringBackend()
        self.older = older
        self._store = store
        self._writing = writing
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """Names the model: embeddings of different fingerprints must not be compared unless they are compatible."""
        return self.embedder.fingerprint

    @property
    def calibrated(self) -> bool:
        """Whether there are log-likelihood ratios and decisions, and not scores alone."""
        return self.backend.record is not None

    @property
    def store(self) -> Store:
        """Who is enrolled."""
        with self._lock:
            if self._store is None:
                self._store = open_store(":memory:")
            return self._store

    def close(self) -> None:
        """Close the store, if there is one."""
        with self._lock:
            if self._store is not None:
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load_audio(self, recordings: Recording | Sequence[Recording], channel: Channel = "mix") -> list[LoadedAudio]:
        """Return recordings with their quality and remarks; all methods take these in place of recordings.

        Raises:
            AudioError: as `embed`, but for what depends on the model.
        """
        if is_one(recordings):
            return [load_audio(recordings, channel=channel, longest_s=self.longest_s)]  # type: ignore[arg-type]
        return load_all_audio(recordings, channel, self.longest_s)  # type: ignore[arg-type]

    def embed(self, recordings: Recording | Sequence[Recording], channel: Channel = "mix") -> Embeddings:
        """Return the unit vector of a recording, (D,) float32, or of N recordings, (N, D).

        Args:
            recordings: one or several.
            channel: which channel of them is taken: ``mix``, ``loudest``, ``left``, ``right``, or a number from 1 on.

        Raises:
            AudioError: a recording that cannot be read, lasts too long, is silent, or is shorter than the model
                accepts.
        """
        rows = embedding.embed(self.embedder, self.load_audio(recordings, channel))
        return rows[0] if is_one(recordings) else rows

    def score(self, first: Recording, second: Recording, channel: Channel | tuple[Channel, Channel] = "mix") -> float:
        """Return the cosine of two recordings, -1 to 1; normalised by the cohort where the calibration says so.

        Args:
            first: a recording.
            second: another.
            channel: as in `verify`.

        Raises:
            AudioError: as `embed`.
        """
        one, other = (self._embedded([audio]) for audio in load_all_audio((first, second), channel, self.longest_s))
        return float(self.backend.compare(one, other)[0][0])

    def verify(
        self,
        first: Recording,
        second: Recording,
        prior: float = PRIOR,
        false_acceptance: float | None = None,
        channel: Channel | tuple[Channel, Channel] = "mix",
    ) -> Verification:
        """Return whether two recordings are of the same speaker; an abstention when one holds too little speech.

        Args:
            first: a recording.
            second: another.
            prior: prior probability of the same speaker.
            false_acceptance: in percent, in place of a prior: the calibration's threshold at this rate.
            channel: which channel of both recordings is taken, or of each: ``mix``, ``loudest``, ``left``, ``right``,
                or a number from 1 on.

        Raises:
            AudioError: a recording that cannot be read at all.
            RecipeError: a prior or rate that cannot be, or a rate that the calibration does not support.
        """
        threshold = self.backend.threshold(prior, false_acceptance)
        pair = load_all_audio((first, second), channel, self.longest_s)
        sides = (self._side(pair[0]), self._side(pair[1]))
        used = None if false_acceptance is not None else prior
        for audio in pair:
            if reason := self.unfit(audio):
                return Verification("abstained", None, None, threshold, used, sides, reason)
        rows = embedding.embed(self.embedder, pair)
        one, other = (embedding_set([audio], rows[place : place + 1]) for place, audio in enumerate(pair))
        return self._verified((one, other), sides, threshold, used)

    def enroll(
        self,
        name: str,
        recordings: Recording | Sequence[Recording],
        by: str = "",
        keep_audio: bool = False,
        channel: Channel = "mix",
    ) -> Enrolled:
        """Add recordings to a person, all of them or none, and return what was added.

        Args:
            name: the person, who need not be known yet.
            recordings: one or several.
            by: who enrols, for the record.
            keep_audio: keep the recordings, too, so that another model can embed them anew: of up to 600 s each.
            channel: which channel of them is taken, as in `embed`.

        Raises:
            AudioError: a recording that cannot be read, or holds too little speech.
            EnrolmentError: a name that no person has.
        """
        audio = self.load_audio(recordings, channel)
        if not audio:
            raise AudioError(f"{name}: no recordings to enrol")
        for recording in audio:
            if reason := self.unfit(recording):
                raise AudioError(f"{reason}. Nothing was enrolled.")
        rows = embedding.embed(self.embedder, audio)
        prints = [
            EnrolmentEmbedding(
                row, item.quality.speech_s, item.quality.snr_db, item.source, flac(item) if keep_audio else None
            )
            for row, item in zip(rows, audio, strict=True)
        ]
        with self._writing():
            self.store.enroll(name, prints, self.fingerprint, by)
        warnings = [f"{item.name}: {text}" for item in audio for text in self._side(item).warnings]
        warnings += self._odd_ones(audio, rows)
        return Enrolled(name, len(audio), Side.with_quality(joint_quality(audio), len(audio), tuple(warnings)))

    def verify_as(
        self,
        name: str,
        recording: Recording,
        prior: float = PRIOR,
        false_acceptance: float | None = None,
        by: str = "",
        channel: Channel = "mix",
    ) -> Verification:
        """Return whether a recording is of an enrolled person; the decision goes into the store's log.

        Args:
            name: whose voice it is claimed to be.
            recording: the test.
            prior: as in `verify`.
            false_acceptance: as in `verify`.
            by: who asks, for the log.
            channel: which channel is taken, as in `embed`.

        Raises:
            AudioError: a recording that cannot be read at all.
            EnrolmentError: nobody of that name, or enrolled with a model that this one must not be compared with.
            RecipeError: as `verify`.
        """
        threshold = self.backend.threshold(prior, false_acceptance)
        used = None if false_acceptance is not None else prior
        try:
            known, enrolled = self.people.enrolment(name)
        except UnknownPersonError:
            # without the name that was tried, which may be anything: that somebody tries names is what counts
            self._log("verify", None, "unknown", None, None, threshold, "nobody of the claimed name", by)
            raise
        audio = load_audio(recording, channel=channel, longest_s=self.longest_s)
        sides = (enrolled, self._side(audio))
        if reason := self.unfit(audio):
            found = Verification("abstained", None, None, threshold, used, sides, reason)
        else:
            found = self._verified((known, self._embedded([audio])), sides, threshold, used)
        self._log("verify", name, found.decision, found.score, found.llr, threshold, found.reason, by)
        return found

    def identify(
        self,
        recording: Recording,
        top: int = 5,
        *,
        prior: float = PRIOR,
        false_acceptance: float | None = None,
        certainty: float = CERTAINTY,
        by: str = "",
        channel: Channel = "mix",
    ) -> Identification:
        """Return which enrolled person a recording is of, or that it is nobody; the decision goes into the store's log.

        The likeliest person is the answer where `verify_as`, with the same prior or rate, would accept the recording as
        of that person, and where the person is more probable than `certainty`, with all others and nobody taken into
        account.

        Args:
            recording: the test.
            top: so many candidates are returned.
            prior: as in `verify`: of a recording and any one person.
            false_acceptance: in percent, in place of a prior: of strangers, at most so many are taken for somebody on
                the whole list. The more people are enrolled, the higher is the threshold.
            certainty: the likeliest candidate is the answer when more probable than this; else nobody.
            by: who asks, for the log.
            channel: which channel is taken, as in `embed`.

        Raises:
            AudioError: a recording that cannot be read at all.
            EnrolmentError: people are enrolled, but nobody with a model that this one may be compared with.
            RecipeError: a prior, rate or certainty that cannot be, a rate that the calibration does not support, or
                `top` below 1.
        """
        rule = Rule(top, prior, false_acceptance, certainty)
        audio = load_audio(recording, channel=channel, longest_s=self.longest_s)
        side, reason = self._side(audio), self.unfit(audio)
        test = None if reason else self._embedded([audio])
        if test is not None:
            side = replace(side, warnings=(*side.warnings, *self.backend.beyond(test)))
        found = identification(self.people, self.backend, rule, test, side, reason)
        score, llr = (found.candidates[0].score, found.candidates[0].llr) if found.candidates else (None, None)
        outcome = "nobody" if found.decision == "rejected" else found.decision
        # without the remark, which names somebody: the log forgets people who are deleted
        self._log("identify", found.person, outcome, score, llr, found.threshold, found.reason, by)
        return found

    @property
    def people(self) -> People:
        """Who is enrolled, as this model may compare with them."""
        return People(self.store, self.fingerprint, self.older)

    def unfit(self, audio: LoadedAudio) -> str:
        """Return why a recording cannot be compared; empty when it can."""
        speech_s = audio.quality.speech_s
        if speech_s == 0:
            return f"{audio.name} is silent; at least {MIN_SPEECH_S} s of speech are needed"
        if speech_s < MIN_SPEECH_S:
            return f"{audio.name} holds {speech_s:.2f} s of speech; at least {MIN_SPEECH_S} s are needed"
        if audio.quality.snr_db < STEADY_DB:
            return f"{audio.name} is a steady sound, noise or a tone, without speech that could be heard in it"
        if audio.samples < self.embedder.min_samples:
            needed = self.embedder.min_samples / SAMPLE_RATE
            return f"{audio.name} lasts {audio.quality.duration_s:.2f} s; the model needs {needed:.2f} s"
        level_db = audio.quality.level_db
        if level_db is not None and level_db < LEAST_LEVEL_DB:
            return f"{audio.name} is too quiet ({level_db:.0f} dB of full scale): little is left of a voice in 16 bits"
        if level_db is not None and self.embedder.hears_level and abs(level_db - USUAL_LEVEL_DB) > LEVEL_LIMIT_DB:
            return f"{audio.name} has a level of {level_db:.0f} dB of full scale, and {HEARS_LEVEL}"
        if reason := self.backend.outside(asdict(audio.quality)).reason:
            return f"{audio.name} is {reason}"
        return ""

    def _side(self, audio: LoadedAudio) -> Side:
        """Return a recording as one side of a comparison, with all that is to be known of it before a decision."""
        quality = audio.quality
        warnings = [*audio.warnings, *self.backend.outside(asdict(quality)).warnings]
        if self.embedder.hears_level and quality.level_db is not None:
            warnings += [HEARS_LEVEL] if abs(quality.level_db - USUAL_LEVEL_DB) > LEVEL_WARNING_DB else []
        if quality.is_narrow and not self.backend.has_heard("bandwidth_hz"):
            warnings.append(NARROW.format(quality.bandwidth_hz))
        return Side.with_quality(quality, 1, tuple(warnings))

    def _embedded(self, audio: Sequence[LoadedAudio]) -> EmbeddingSet:
        return embedding_set(audio, embedding.embed(self.embedder, audio))

    def _verified(
        self,
        embedded: tuple[EmbeddingSet, EmbeddingSet],
        sides: tuple[Side, Side],
        threshold: float | None,
        prior: float | None,
    ) -> Verification:
        scores, llrs = self.backend.compare(*embedded)
        enrolment, test = (
            replace(side, warnings=(*side.warnings, *self.backend.beyond(one)))
            for side, one in zip(sides, embedded, strict=True)
        )
        again = replayed(embedded[0].embeddings, embedded[1].embeddings)
        sides = (enrolment, replace(test, warnings=(*test.warnings, *again)))
        score = float(scores[0])
        if llrs is None or threshold is None:
            return Verification("uncalibrated", score, None, None, prior, sides, UNCALIBRATED)
        llr = float(llrs[0])
        return Verification("accepted" if llr >= threshold else "rejected", score, llr, threshold, prior, sides)

    def _odd_ones(self, audio: Sequence[LoadedAudio], rows: Embeddings) -> list[str]:
        """Return a warning for each recording whose score with the mean of the others is that of a stranger."""
        found = []
        for place in range(len(audio)) if len(audio) > 1 else ():
            others = [item for index, item in enumerate(audio) if index != place]
            mean = np.delete(rows, place, axis=0).mean(axis=0, keepdims=True)
            total = joint_quality(others)
            rest = EmbeddingSet(mean, np.array([total.speech_s]), np.array([total.snr_db]))
            llrs = self.backend.compare(embedding_set(audio[place : place + 1], rows[place : place + 1]), rest)[1]
            if llrs is not None and llrs[0] < 0:
                found.append(f"{audio[place].name}: unlike the others; is it the same person?")
        return found

    def _log(
        self,
        kind: Kind,
        person: str | None,
        decision: str,
        score: float | None,
        llr: float | None,
        threshold: float | None,
        reason: str,
        by: str,
    ) -> None:
        with self._writing():
            self.store.log(Decision(person, kind, decision, score, llr, threshold, self.fingerprint, reason, by))


# Kept audio embedded anew, when another model takes over.


def reembed(verifier: Verifier) -> Reembedded:
    """Replace the enrolments of all other models by what the verifier's model makes of the audio that was kept.

    Whoever has recordings without audio keeps their old voiceprints, and is listed. A run that was stopped goes on.
    """

    def embedded(content: bytes) -> EnrolmentEmbedding:
        try:
            samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
        except soundfile.SoundFileError as error:
            raise AudioError(f"kept audio cannot be read ({error})") from None
        audio = load_audio((samples, rate), "kept audio")
        if reason := verifier.unfit(audio):
            raise AudioError(reason)
        row = embed(verifier.embedder, [audio])[0]
        return EnrolmentEmbedding(row, audio.quality.speech_s, audio.quality.snr_db)

    return verifier.store.reembed(None, verifier.fingerprint, embedded)
