"""The trials that a calibration is fitted on: pieces of different lengths, heard in every condition."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle
from typing import TypeVar

import numpy as np

from voxanchor.audio.bank import NoiseBank
from voxanchor.audio.quality import Quality
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import Trials as Pairs
from voxanchor.corpus.trials import all_pairs
from voxanchor.corpus.utterance import Utterance
from voxanchor.errors import VoxanchorError
from voxanchor.evaluation.audience import Audience
from voxanchor.evaluation.cache import EmbeddingCache
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.progress import say
from voxanchor.rng import generator
from voxanchor.scoring.calibration import Kind, Sides, Trials
from voxanchor.scoring.cohort import Cohort, CohortStatistics, as_norm
from voxanchor.scoring.scores import trial_scores
from voxanchor.types import BoolArray, Embeddings, FloatArray, IntArray

Item = TypeVar("Item")

PIECES_S = ((2.0, 4.0, 1.0, 3.0), (8.0, 3.0, 1.0), (6.0, 2.0, 4.0))
"""Lengths that recordings are cut into: a calibration must have heard short and long. The first recording begins with
the first row, the second with the second, and so on round; a longer recording goes on with the rows behind it."""

SHORTEST_S = 0.75
"""No piece is shorter; what is left of a recording is a piece from this length on."""

DIVIDED_S, FIRST_SHARE = 3.0, 0.6
"""From this length on a recording gives two pieces at least, of which the first has this share."""

MOST_PIECES = 8
"""Of one recording."""

MOST_OF_SPEAKER, LEAST_OF_SPEAKER, MOST_ALL = 12, 4, 4000
"""Pieces of one speaker, at most and at least, and of all: more would take hours and settle nothing that a calibration
of a dozen numbers needs. Of so many speakers that this leaves fewer, some are left out."""

MOST_TRIALS = 60_000
"""Of a condition; more pairs are drawn from."""

MOST_SEARCHED = 400_000
"""Trials of a condition's searches; with more, fewer pieces are looked for."""

LEAST_SPEECH_S = 0.5
"""A piece with less active speech, in clean, is left out: a verifier abstains there."""


def pieces(manifest: Manifest) -> Manifest:
    """Return the recordings cut into pieces of `PIECES_S`, at most `MOST_PIECES` of each.

    Of a large corpus they are a part: `MOST_OF_SPEAKER` pieces of each speaker, fewer of very many speakers, evenly.
    """
    found: dict[str, list[Utterance]] = {}
    for place, utterance in enumerate(manifest.utterances):
        found.setdefault(utterance.speaker, []).extend(_cut(utterance, place))
    speakers = _evenly(sorted(found), MOST_ALL // LEAST_OF_SPEAKER)
    each = min(max(MOST_ALL // max(len(speakers), 1), LEAST_OF_SPEAKER), MOST_OF_SPEAKER)
    chosen = [piece for speaker in speakers for piece in _evenly(found[speaker], each)]
    return replace(manifest, utterances=tuple(sorted(chosen, key=lambda piece: piece.id)))


def part_of(manifest: Manifest, most_speakers: int, most_of_each: int) -> tuple[Utterance, ...]:
    """Return the utterances of at most so many speakers, and so many of each, evenly chosen, in their order."""
    found: dict[str, list[Utterance]] = {}
    for utterance in manifest.utterances:
        found.setdefault(utterance.speaker, []).append(utterance)
    chosen = [
        item for speaker in _evenly(sorted(found), most_speakers) for item in _evenly(found[speaker], most_of_each)
    ]
    return tuple(sorted(chosen, key=lambda utterance: utterance.id))


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return all items, or so many of them at even distances."""
    if len(items) <= most:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, most).round()]


def _cut(utterance: Utterance, place: int) -> Iterator[Utterance]:
    start_s = 0.0
    rows = cycle(PIECES_S[(place + step) % len(PIECES_S)] for step in range(len(PIECES_S)))
    for number, length_s in zip(range(MOST_PIECES), chain.from_iterable(rows), strict=False):
        left_s = utterance.duration_s - start_s
        if left_s < SHORTEST_S:
            return
        if number == 0 and DIVIDED_S <= left_s < length_s + SHORTEST_S:
            length_s = FIRST_SHARE * left_s  # one that fills the recording leaves nothing to compare it with
        length_s = min(length_s, left_s)
        yield replace(
            utterance,
            id=f"{utterance.id}#{number}",
            duration_s=length_s,
            parts=utterance.crop(start_s, length_s),
            recording=utterance.recording or utterance.id,
        )
        start_s += length_s


@dataclass(frozen=True)
class Group:
    """The trials of a condition.

    Attributes:
        condition: its name.
        clean_enrol: whether the enrolment is clean; otherwise both sides are in the condition.
        trials: scored.
        target: (K,) which are of one speaker.
        enrol: (K,) number of each trial's enrolled speaker.
        test: (K,) number of its other speaker.
    """

    condition: str
    clean_enrol: bool
    trials: Trials
    target: BoolArray
    enrol: IntArray
    test: IntArray


@dataclass(frozen=True)
class _Heard:
    embeddings: Embeddings
    speech_s: FloatArray
    snr_db: FloatArray


class CalibrationTrials:
    """Pieces of recordings in all conditions of a suite, and the trials between them.

    Args:
        encoder: the model, where it lies.
        recordings: of speakers that the model was not trained on.
        suite: clean, and others.
        bank: noise and rooms.
        cache: where embeddings and qualities are kept.
        seed: of the noise.
        precision: of the model's matrix products.

    Raises:
        CorpusError: recordings without speakers, or without trials of both kinds.
    """

    def __init__(
        self,
        encoder: SpeakerEncoder,
        recordings: Manifest,
        suite: Suite,
        bank: NoiseBank,
        cache: EmbeddingCache,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        self.suite, self.seed, self.encoder = suite, seed, encoder
        self.pieces = self._with_speech(pieces(recordings))
        self._audience = Audience({"model": encoder}, None, self.pieces, bank, cache, precision, with_quality=True)
        self.pairs: Pairs = all_pairs(self.pieces, MOST_TRIALS)
        names = sorted(set(self.pairs.speakers))
        self.speakers = len(names)
        self._numbers = np.array([names.index(name) for name in self.pairs.speakers], dtype=np.int64)

    def groups(self, cohort: Cohort | None = None, kind: Kind = "cosine") -> list[Group]:
        """Return the trials of every condition: with clean enrolments, and with both sides in the condition.

        Args:
            cohort: strangers, for likeness or for normalised scores.
            kind: what the scores are.
        """
        clean = self._hear(self.suite.conditions[0])
        left = self._statistics(clean, cohort)
        first, second = self.pairs.enrol, self.pairs.test
        found = [self._group("clean", True, (clean, left), (clean, left), (first, second), kind)]
        for condition in self.suite.noisy:
            heard = self._hear(condition)
            right = self._statistics(heard, cohort)
            # either piece may be the clean one
            both = np.concatenate((first, second)), np.concatenate((second, first))
            found.append(self._group(condition.name, True, (clean, left), (heard, right), both, kind))
            found.append(self._group(condition.name, False, (heard, right), (heard, right), (first, second), kind))
        return found

    def searches(self, cohort: Cohort | None = None, kind: Kind = "cosine") -> Iterator[Group]:
        """Yield the searches of every condition: pieces, each with a clean piece of every speaker, in their order.

        Which piece of a speaker is drawn anew for each. Of its own speaker it is another one, of another recording
        where there is one; where there is none it is the piece itself.

        Args:
            cohort: strangers, for likeness or for normalised scores.
            kind: what the scores are.
        """
        heard = np.arange(len(self._numbers))
        heard = np.array(_evenly(heard.tolist(), max(MOST_SEARCHED // self.speakers, 1)), dtype=np.int64)
        index = self._enrolled_for(heard).ravel(), np.repeat(heard, self.speakers)
        clean = self._hear(self.suite.conditions[0])
        left = self._statistics(clean, cohort)
        for condition in self.suite.conditions:
            found = self._hear(condition)
            yield self._group(
                condition.name, True, (clean, left), (found, self._statistics(found, cohort)), index, kind
            )

    def _enrolled_for(self, heard: IntArray) -> IntArray:
        """Return (P, S) the piece of every speaker that each of P pieces is compared with."""
        draw = generator(self.seed, 0, 0, "calibration/searches")
        of_speaker = [np.flatnonzero(self._numbers == number) for number in range(self.speakers)]
        chosen = np.stack([draw.choice(rows, len(heard)) for rows in of_speaker], axis=1)
        recordings = np.array([piece.recording for piece in self.pieces.utterances])
        for place, row in enumerate(heard):
            own = of_speaker[self._numbers[row]]
            apart = own[recordings[own] != recordings[row]]
            others = apart if len(apart) else own[own != row]
            chosen[place, self._numbers[row]] = draw.choice(others) if len(others) else row
        return chosen

    def _group(
        self,
        name: str,
        clean_enrol: bool,
        enrol: tuple[_Heard, CohortStatistics | None],
        test: tuple[_Heard, CohortStatistics | None],
        index: tuple[IntArray, IntArray],
        kind: Kind,
    ) -> Group:
        (one, left), (other, right) = enrol, test
        scores = trial_scores(one.embeddings, other.embeddings, *index)
        if kind == "as-norm" and left and right:
            scores = as_norm(scores, left, right, *index)
        trials = Trials(scores, _sides(one, left), _sides(other, right), *index)
        numbers = self._numbers[index[0]], self._numbers[index[1]]
        return Group(name, clean_enrol, trials, numbers[0] == numbers[1], *numbers)

    def _statistics(self, heard: _Heard, cohort: Cohort | None) -> CohortStatistics | None:
        return cohort.statistics(heard.embeddings) if cohort else None

    def _with_speech(self, found: Manifest) -> Manifest:
        kept, gone = [], []
        for utterance in found.utterances:
            try:
                wave = utterance.read()
            except VoxanchorError as error:  # it could be read while the folder was looked through
                gone.append(str(error))
                continue
            enough = len(wave) >= self.encoder.min_samples and Quality.of(wave).speech_s >= LEAST_SPEECH_S
            kept += [utterance] if enough else []
        if gone:
            say(f"{len(gone)} pieces of recordings cannot be read any more and are left out, for example: {gone[0]}")
        return replace(found, utterances=tuple(kept))

    def heard(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of qualities over all pieces, in all conditions, by name."""
        found = np.concatenate([self._audience.quality(condition, self.seed) for condition in self.suite.conditions])
        ranges = {}
        for name, column in {"snr_db": 1, "level_db": 2, "bandwidth_hz": 3, "clipped": 4}.items():
            values = found[:, column][np.isfinite(found[:, column])]
            if len(values):
                ranges[name] = float(values.min()), float(values.max())
        return ranges

    def _hear(self, condition: Condition) -> _Heard:
        """Return every piece as the model hears it in a condition, and what it is worth."""
        embeddings = self._audience.hear(condition, self.seed)["model"]
        quality = self._audience.quality(condition, self.seed)
        return _Heard(embeddings, quality[:, 0], quality[:, 1])


def _sides(heard: _Heard, statistics: CohortStatistics | None) -> Sides:
    return Sides(heard.speech_s, heard.snr_db, statistics.mean if statistics else None)


def selected(group: Group, rows: BoolArray) -> Group:
    """Return the trials of a group that are marked, (K,) bool."""
    index = {name: getattr(group.trials, name)[rows] for name in ("scores", "enrol_index", "test_index")}
    return replace(
        group,
        trials=replace(group.trials, **index),
        target=group.target[rows],
        enrol=group.enrol[rows],
        test=group.test[rows],
    )
