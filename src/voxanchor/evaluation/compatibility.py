"""May voiceprints enrolled with an old model be kept when a new one is used? Everything measured for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import TrialList
from voxanchor.errors import CorpusError, ModelError
from voxanchor.evaluation.compatibility_figures import (
    ALL_PAIRS,
    MIXED,
    NEW,
    OLD,
    UPGRADED,
    Figure,
    OperatingPoint,
    Pair,
    ThresholdStudy,
    figures,
    joined,
)
from voxanchor.evaluation.compatibility_verdict import Evidence, Verdict, decide, unknown
from voxanchor.evaluation.embed import ConditionEmbedder, EmbeddingCache
from voxanchor.evaluation.protocol import Outcome, Setup, bootstrap_of, evaluate
from voxanchor.evaluation.results import CLEAN, CompatibilityRow
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.rng import generator
from voxanchor.scoring.scores import ScoreStats, Similarity, trial_scores
from voxanchor.types import BoolArray, Embeddings, FloatArray, IntArray

MOST_PAIRS = 500_000
"""Pairs of segments whose scores are looked at, where nobody says who speaks."""

_SIDES: dict[Pair, tuple[str, str]] = {
    OLD: (OLD, OLD),
    MIXED: (OLD, NEW),
    UPGRADED: (UPGRADED, NEW),
    NEW: (NEW, NEW),
}

Alike = Mapping[tuple[str, int], Mapping[str, Similarity]]
"""(condition, noise seed) -> pair -> how alike the clean enrolment and the test of one segment are."""


def similarities(embedder: ConditionEmbedder, setup: Setup) -> Alike:
    """Return how alike clean enrolment and test of one segment are, of models called old, new and maybe upgraded."""
    clean = embedder.load_audio(Condition(), setup.noise_seeds[0])
    found = {}
    for seed in setup.noise_seeds:
        for condition in setup.suite.conditions:
            heard = clean if condition.is_clean else embedder.load_audio(condition, seed)
            found[condition.name, seed] = {
                str(pair): Similarity.of(clean[enrol], heard[test])
                for pair, (enrol, test) in _SIDES.items()
                if enrol in clean
            }
    return found


def over_seeds(alike: Alike) -> dict[str, dict[str, Similarity]]:
    """Return the same, noise seeds averaged: condition -> pair -> similarity."""
    found: dict[str, dict[str, Similarity]] = {}
    for condition in dict.fromkeys(condition for condition, _ in alike):
        seeds = [pairs for (name, _), pairs in alike.items() if name == condition]
        found[condition] = {
            pair: Similarity(*np.mean([(own[pair].mean, own[pair].p05) for own in seeds], axis=0).tolist())
            for pair in ALL_PAIRS
            if pair in seeds[0]
        }
    return found


def unlabelled_spreads(clean: Mapping[str, Embeddings], segments: Manifest) -> dict[str, dict[str, ScoreStats]]:
    """Return how clean scores of segments from different recordings are spread, whoever speaks in them.

    Empty where there is a single recording.
    """
    enrol, test = _pairs(segments)
    if not enrol.size:
        return {}
    return {
        pair: {"different recordings": ScoreStats.of(trial_scores(clean[one], clean[other], enrol, test))}
        for pair, (one, other) in _SIDES.items()
        if one in clean
    }


def _pairs(segments: Manifest) -> tuple[IntArray, IntArray]:
    """Return pairs of segments that are not from one recording, all of them or as many as are looked at."""
    count = len(segments)
    if count * (count - 1) // 2 <= MOST_PAIRS:
        enrol, test = np.triu_indices(count, 1)
    else:
        enrol, test = generator(0, 0, 0, "compatibility/pairs").integers(0, count, (2, MOST_PAIRS))
    names = [utterance.recording or utterance.id for utterance in segments.utterances]
    recording = np.unique(names, return_inverse=True)[1]
    apart = recording[enrol] != recording[test]
    return enrol[apart], test[apart]


# May voiceprints enrolled with an old model be kept when a new one hears the tests? Everything measured for that.
#
# Nothing is embedded twice: old and new are evaluated together, then the new one against enrolments of the old one, out
# of the same cache, on the same audio, the same trials and the same draws of speakers.


@dataclass(frozen=True)
class Model:
    """A model of the comparison: how it was named, and the fingerprint of its weights."""

    reference: str
    fingerprint: str


@dataclass(frozen=True)
class Material:
    """What was measured on.

    Attributes:
        segments: number of segments, or whole recordings, that were embedded.
        speakers: 0 where they are unknown.
        trials: 0 without labels.
        targets: same-speaker trials among them.
        resampled: what intervals draw anew: "speaker", or "trial" where the speakers of a list are unknown; empty
            without labels.
        replicates: how often.
        note: how the trials were chosen.
    """

    recordings: int
    segments: int
    speakers: int
    trials: int = 0
    targets: int = 0
    resampled: str = ""
    replicates: int = 0
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """All that was found.

    Attributes:
        where: the conditions but clean, for a sentence: "in noise".
        figures: EERs "clean", "noisy" (mean of all but clean) and "overall", as far as there are such conditions; empty
            without labels.
        conditions: EERs of every condition; empty without labels.
        drift: how alike the clean embeddings of both models are, of the same segment.
        similarity: condition -> pair -> how alike the clean enrolment and the test of the same segment are; noise seeds
            averaged.
        thresholds: at rates of false acceptance; empty without labels.
        scores: pair -> "same speaker" and "different speakers", or without labels "different recordings" -> how clean
            scores are spread.
        rows: a line of the table for every condition, pair and noise seed.
        outcome: rows, curves and replicates, for figures; None without labels.
    """

    old: Model
    new: Model
    dimension: int
    suite: str
    where: str
    noise_seeds: tuple[int, ...]
    material: Material
    figures: Mapping[str, Figure]
    conditions: Mapping[str, Figure]
    drift: Similarity
    similarity: Mapping[str, Mapping[str, Similarity]]
    thresholds: tuple[OperatingPoint, ...]
    scores: Mapping[str, Mapping[str, ScoreStats]]
    verdict: Verdict
    remarks: tuple[str, ...] = ()
    rows: tuple[CompatibilityRow, ...] = ()
    outcome: Outcome | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Examined:
    """Two models and what they are examined with.

    Attributes:
        old: made the enrolments that exist.
        new: would hear the tests.
        segments: what is embedded, in the order of ``trials.ids``.
        trials: pairs of segments; None where nobody says who speaks.
        names: of both models, for the report.
        remarks: of a sentence each, for the report.
        upgraded: the old model with its embeddings carried into the new one's space, where there is a map for that.
    """

    old: SpeakerEncoder
    new: SpeakerEncoder
    segments: Manifest
    trials: TrialList | None
    bank: NoiseBank
    setup: Setup
    names: tuple[str, str] = (OLD, NEW)
    remarks: tuple[str, ...] = ()
    upgraded: SpeakerEncoder | None = None

    @property
    def models(self) -> dict[str, SpeakerEncoder]:
        """Every model that embeds, by name."""
        return {OLD: self.old, NEW: self.new, **({UPGRADED: self.upgraded} if self.upgraded else {})}


def examine(examined: Examined, cache: EmbeddingCache) -> Findings:
    """Return how well old enrolments work with the new model, and the verdict; protocol ``clean-enrol``.

    Raises:
        ModelError: the models have different dimensions, so that their embeddings cannot be compared.
        CorpusError: nothing to measure on, or as `protocol.evaluate`.
    """
    old, new, setup = examined.old, examined.new, examined.setup
    refuse_apart(old, new, examined.names)
    if not examined.segments.utterances:
        raise CorpusError("there are no recordings to examine the models on")
    spreads: dict[str, dict[str, ScoreStats]] = {}
    outcome, averages, conditions = None, dict[str, Figure](), dict[str, Figure]()
    study: ThresholdStudy | None = None
    if examined.trials is not None:
        outcome, study, spreads = _scored(examined, examined.trials, cache)
        averages, conditions = figures(outcome)
    embedder = ConditionEmbedder(examined.models, None, examined.segments, examined.bank, cache, setup.precision)
    alike = similarities(embedder, setup)
    if examined.trials is None:
        spreads = unlabelled_spreads(embedder.load_audio(Condition(), setup.noise_seeds[0]), examined.segments)
    material = _material(examined)
    points = study.points() if study else ()
    drawn = material.speakers if material.resampled == "speaker" else 0
    return Findings(
        old=Model(examined.names[0], old.fingerprint),
        new=Model(examined.names[1], new.fingerprint),
        dimension=old.embedding_dim,
        suite=setup.suite.label,
        where=setup.suite.where,
        noise_seeds=setup.noise_seeds,
        material=material,
        figures=averages,
        conditions=conditions,
        drift=alike[CLEAN, setup.noise_seeds[0]][MIXED],
        similarity=over_seeds(alike),
        thresholds=points,
        scores=spreads,
        verdict=decide(Evidence(averages, points, drawn, setup.suite.where)) if outcome else unknown(),
        remarks=examined.remarks,
        rows=_rows(setup, alike, outcome, study),
        outcome=outcome,
    )


def refuse_apart(old: SpeakerEncoder, new: SpeakerEncoder, names: tuple[str, str]) -> None:
    """Check that the embeddings of two models have one dimension.

    Raises:
        ModelError: they have not.
    """
    if old.embedding_dim != new.embedding_dim:
        raise ModelError(
            f"{names[0]} has {old.embedding_dim} dimensions and {names[1]} {new.embedding_dim}: their embeddings "
            "cannot be compared, so everybody has to enrol again"
        )


def _scored(
    examined: Examined, trials: TrialList, cache: EmbeddingCache
) -> tuple[Outcome, ThresholdStudy, dict[str, dict[str, ScoreStats]]]:
    """Return error rates of the pairs, errors at thresholds, and how clean scores are spread."""
    setup, bank = examined.setup, examined.bank
    study = ThresholdStudy(trials.target, bootstrap_of(examined.segments, trials, setup.replicates))
    spreads: dict[str, dict[str, ScoreStats]] = {}
    targets: BoolArray = trials.target

    def scored(pair: str, condition: Condition, seed: int, scores: FloatArray) -> None:
        study(pair, condition, seed, scores)
        if condition.is_clean and pair not in spreads:
            kinds = {"same speaker": targets, "different speakers": ~targets}
            spreads[pair] = {kind: ScoreStats.of(scores[chosen]) for kind, chosen in kinds.items()}

    shared = examined.segments, trials, bank, setup, cache
    both = evaluate({OLD: examined.old, NEW: examined.new}, *shared, scored=scored)
    apart = {MIXED: examined.old, UPGRADED: examined.upgraded}
    crossed = [
        evaluate({pair: examined.new}, *shared, enrol=enrol, scored=scored)
        for pair, enrol in apart.items()
        if enrol is not None
    ]
    return joined(both, *crossed), study, {pair: spreads[pair] for pair in ALL_PAIRS if pair in spreads}


def _material(examined: Examined) -> Material:
    segments, trials = examined.segments, examined.trials
    recordings = len({utterance.recording or utterance.id for utterance in segments.utterances})
    known = all(utterance.speaker for utterance in segments.utterances)
    plain = Material(recordings, len(segments), len(segments.speakers) if known else 0)
    if trials is None:
        return plain
    return Material(
        recordings,
        len(segments),
        plain.speakers,
        len(trials),
        int(np.count_nonzero(trials.target)),
        "speaker" if known else "trial",
        examined.setup.replicates,
        trials.note,
    )


def _rows(
    setup: Setup, alike: Alike, outcome: Outcome | None, study: ThresholdStudy | None
) -> tuple[CompatibilityRow, ...]:
    """Return the table: conditions, in them the noise seeds, in these the pairs."""
    known = {(row.system, row.condition, row.noise_seed): row for row in outcome.rows} if outcome else {}
    found = []
    for condition in setup.suite.conditions:
        for seed, pair in ((drawn, pair) for drawn in setup.noise_seeds for pair in alike[condition.name, drawn]):
            key = pair, condition.name, seed
            row, errors = known.get(key), study.errors(key) if study else {}
            found.append(
                CompatibilityRow(
                    condition=condition.name,
                    noise=condition.kind,
                    snr_db=condition.snr_db,
                    pair=pair,
                    noise_seed=seed,
                    trials=row.trials if row else 0,
                    targets=row.targets if row else 0,
                    eer=row.eer if row else None,
                    eer_low=row.eer_low if row else None,
                    eer_high=row.eer_high if row else None,
                    false_acceptance_1=errors.get((1.0, "false acceptance")),
                    false_rejection_1=errors.get((1.0, "false rejection")),
                    false_acceptance_01=errors.get((0.1, "false acceptance")),
                    false_rejection_01=errors.get((0.1, "false rejection")),
                    similarity=alike[condition.name, seed][pair].mean,
                    similarity_p05=alike[condition.name, seed][pair].p05,
                )
            )
    return tuple(found)
