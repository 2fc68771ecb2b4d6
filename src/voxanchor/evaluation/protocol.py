"""The protocol of an evaluation: models, conditions, scores with AS-norm, and decisions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Condition, Reverb
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import TrialList
from voxanchor.errors import CorpusError, ModelError
from voxanchor.evaluation.embed import ENROL, ConditionEmbedder, EmbeddingCache, Qualities, embed_with, embeddings_key
from voxanchor.evaluation.results import DecisionRow, GeometryRow, ResultRow
from voxanchor.evaluation.settings import Protocol
from voxanchor.models.registry import Embedder
from voxanchor.rng import generator
from voxanchor.scoring.backend import EmbeddingSet, ScoringBackend
from voxanchor.scoring.bootstrap import TrialBootstrap, error_rates, interval
from voxanchor.scoring.calibration import log_odds
from voxanchor.scoring.cohort import Cohort, as_norm
from voxanchor.scoring.geometry import geometry
from voxanchor.scoring.metrics import (
    EerMethod,
    cllr,
    det_curve,
    rank_trials,
    ranked_eer,
    ranked_min_cllr,
    ranked_min_dcf,
)
from voxanchor.scoring.scores import trial_scores
from voxanchor.types import Embeddings, FloatArray, IntArray

PRIORS = (0.01, 0.5)
"""Priors of one voice whose thresholds are looked at, beside those for rates of false acceptance."""


@dataclass(frozen=True)
class Decider:
    """Decides the trials of an evaluation as the systems' calibrations would.

    Attributes:
        backends: by system; those without a calibration are left out.
        trials: which segments are compared.
        protocol: for the rows.
        suite: for the rows.
    """

    backends: Mapping[str, ScoringBackend]
    trials: TrialList
    protocol: str
    suite: str

    def decide(
        self,
        system: str,
        condition: Condition,
        seed: int,
        embeddings: tuple[Embeddings, Embeddings],
        qualities: Sequence[Qualities],
    ) -> list[DecisionRow]:
        """Return a row for every threshold.

        Args:
            system: whose calibration.
            condition: of the test.
            seed: of the noise.
            embeddings: of the enrolments, as `TrialList.enrolled` gives them, and (N, D) of the tests.
            qualities: (N, 5) of the utterances as they are heard on either side.
        """
        backend = self.backends[system]
        measures = together(qualities[0], self.trials.models), qualities[1]
        sides = [_voices(*side) for side in zip(embeddings, measures, strict=True)]
        llrs = backend.ratios(sides[0], sides[1], self.trials.enrol, self.trials.test)
        ranked = rank_trials(llrs, self.trials.target)
        cost, least = cllr(llrs, self.trials.target), ranked_min_cllr(ranked)
        rows = []
        for name, threshold in _thresholds(backend):
            found = error_rates(ranked, threshold)
            errors = 100 * found.false_acceptance, 100 * found.false_rejection
            place = (system, self.protocol, self.suite, condition.name, seed)
            rows.append(DecisionRow(*place, cost, least, name, threshold, *errors))
        return rows


def _thresholds(backend: ScoringBackend) -> Iterator[tuple[str, float]]:
    for prior in PRIORS:
        yield f"prior {prior:g}", log_odds(prior)
    for item in backend.record.thresholds if backend.record else ():
        if item.llr is not None:
            yield f"{item.false_acceptance:g} %", item.llr


def together(qualities: Qualities, models: Sequence[tuple[int, ...]]) -> Qualities:
    """Return the quality measures of each enrolment model of several recordings: speech summed, the others averaged."""
    if not models:
        return qualities
    found = np.stack([qualities[list(rows)].mean(axis=0) for rows in models])
    found[:, 0] = [qualities[list(rows), 0].sum() for rows in models]
    return found


def _voices(embeddings: Embeddings, qualities: Qualities) -> EmbeddingSet:
    return EmbeddingSet(embeddings, qualities[:, 0], qualities[:, 1])


# AS-norm in an evaluation: every model's scores measured against a cohort as that model hears it.

TOP = 300
"""How many of the cohort count for a recording: those it scores highest with, or all of a smaller cohort."""


class Normaliser:
    """The cohort's speakers as each model embeds their clean recordings.

    Args:
        models: by name.
        cohort: recordings of speakers who take part in no trial.
        trial_speakers: who does.
        cache: where embeddings are kept.

    Raises:
        CorpusError: a cohort of fewer than two speakers, without labels, or with speakers of the trials.
    """

    def __init__(
        self,
        models: Mapping[str, Embedder],
        cohort: Manifest,
        trial_speakers: set[str],
        cache: EmbeddingCache,
        precision: str = "float32",
    ) -> None:
        speakers = [utterance.speaker for utterance in cohort.utterances]
        if not all(speakers) or len(set(speakers)) < 2:
            raise CorpusError("a cohort needs recordings of at least two speakers, one folder per speaker")
        if shared := sorted(trial_speakers & set(speakers)):
            raise CorpusError(
                f"speaker {', '.join(shared[:5])} is in the cohort and in the trials: give a cohort of other speakers"
            )
        self._cohorts: dict[str, Cohort] = {}
        for name, model in models.items():
            key = (embeddings_key(model, precision), cohort.fingerprint, "clean", "", 0)
            embeddings = cache.get(*key)
            if embeddings is None:
                embeddings = embed_with(
                    [model], cohort.utterances, label=f"cohort, {name.strip(chr(0))}", precision=precision
                )[0]
                cache.put(embeddings, *key)
            self._cohorts[name] = Cohort.of_speakers(embeddings, speakers, min(TOP, len(set(speakers))))

    def apply(
        self,
        scores: FloatArray,
        enrol: tuple[str, Embeddings],
        test: tuple[str, Embeddings],
        enrol_index: IntArray,
        test_index: IntArray,
    ) -> FloatArray:
        """Return the (K,) normalised scores of trials.

        Args:
            scores: (K,) cosines.
            enrol: the model that enrolled, and its (N, D) embeddings.
            test: the model under test, and its (N, D) embeddings.
            enrol_index: (K,) row of each trial's enrolment.
            test_index: (K,) row of each trial's test.
        """
        # each side is measured against the cohort as the other side's model hears it: what its scores are made of
        left = self._cohorts[test[0]].statistics(np.asarray(enrol[1]))
        right = self._cohorts[enrol[0]].statistics(np.asarray(test[1]))
        return as_norm(scores, left, right, enrol_index, test_index)


# A set of models against a suite of conditions, every model on the same audio and the same trials.
#
# ``clean-enrol``: clean enrolment, test in the condition; how a service meets noise. ``both-noisy``: both sides in the
# condition, with the same type and SNR, drawn apart; the protocol of ExU-Net and its successors.

Scored = Callable[[str, Condition, int, FloatArray], None]
"""Called with system, condition, noise seed and the (K,) scores of the trials."""


@dataclass(frozen=True)
class Setup:
    """How models are compared: the settings of an evaluation, with the suite read and the seeds counted.

    Attributes:
        suite: the conditions.
        protocol: which sides of a trial are in the condition.
        noise_seeds: each gives one row per system and condition; published figures take at least five.
        eer_method: how the ROC's points are joined, for the error rates and their intervals.
        replicates: how often the speakers are drawn anew, for intervals.
        precision: of the models' matrix products, ``float32`` or ``bfloat16``.
    """

    suite: Suite
    protocol: Protocol = "clean-enrol"
    noise_seeds: tuple[int, ...] = (0,)
    eer_method: EerMethod = "linear"
    replicates: int = 200
    precision: str = "float32"


@dataclass(frozen=True)
class Keep:
    """Embeddings that are wanted after an evaluation: they are large, so none are kept that nobody asks for.

    Attributes:
        conditions: by their names.
        rows: (R,) places of the segments; None for all.
    """

    conditions: tuple[str, ...] = ()
    rows: IntArray | None = None


@dataclass
class Outcome:
    """What an evaluation found.

    Attributes:
        det: (system, "clean" or all noise at one SNR) -> miss and false-alarm rates, trials of all seeds pooled.
        replicates: (system, condition, noise seed) -> EERs in percent over resampled speakers.
        embeddings: (system, condition) -> (R, D) of the first noise seed, of what `Keep` names.
        decisions: of systems with a calibration, a row for each of its thresholds in every condition and seed.
    """

    rows: list[ResultRow] = field(default_factory=list)
    geometry: list[GeometryRow] = field(default_factory=list)
    det: dict[tuple[str, str], tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    replicates: dict[tuple[str, str, int], FloatArray] = field(default_factory=dict)
    embeddings: dict[tuple[str, str], Embeddings] = field(default_factory=dict)
    decisions: list[DecisionRow] = field(default_factory=list)


def evaluate(
    systems: Mapping[str, Embedder],
    manifest: Manifest,
    trials: TrialList,
    bank: NoiseBank,
    setup: Setup,
    cache: EmbeddingCache,
    enrol: Embedder | None = None,
    cohort: Manifest | None = None,
    scored: Scored | None = None,
    backends: Mapping[str, ScoringBackend] | None = None,
    keep: Keep = Keep(),
) -> Outcome:
    """Return error rates and geometry of every system in every condition.

    Args:
        systems: models by the name their rows carry.
        manifest: the segments the trials point into, in the order of ``trials.ids``.
        trials: pairs to compare.
        bank: noise and rooms; what is drawn depends on (noise seed, utterance, condition) only.
        setup: suite, protocol and seeds.
        cache: where embeddings are kept.
        enrol: the model that made the enrolments, when it is not the one under test: an older version, say.
        cohort: recordings of other speakers to normalise the scores with (AS-norm); None for plain cosines.
        scored: given the scores as they come, in the order of seeds, conditions (clean first) and systems.
        backends: calibrations of systems that have one, by name; they are for scores of a model with itself, and count
            only where neither `enrol` nor `cohort` is given.
        keep: whose embeddings the outcome holds; beside them those of one condition at a time are in memory, and clean.

    Raises:
        CorpusError: a cohort that cannot serve, a suite with measured rooms where the bank has none, or one that still
            has to be expanded by the classes of noise.
        ModelError: `enrol` has another dimension than a system, so they cannot be compared.
    """
    for name, system in systems.items():
        if enrol is not None and enrol.embedding_dim != system.embedding_dim:
            raise ModelError(
                f"{name} has {system.embedding_dim} dimensions, the enrolment model "
                f"{enrol.embedding_dim}: their embeddings cannot be compared. Enrol with a model of its family."
            )
    if setup.suite.each_class:
        raise CorpusError(f"suite '{setup.suite.name}' goes through classes of noise: name them with Suite.expanded")
    if any(condition.room == Reverb() for condition in setup.suite.conditions):
        bank.rooms.refuse_none()
    plain = enrol is None and cohort is None
    decider = Decider(backends, trials, setup.protocol, setup.suite.label) if plain and backends else None
    embedder = ConditionEmbedder(
        systems, enrol, manifest, bank, cache, setup.precision, with_quality=decider is not None
    )
    speakers = np.array([utterance.speaker for utterance in manifest.utterances])
    known = all(utterance.speaker for utterance in manifest.utterances)
    bootstrap = bootstrap_of(manifest, trials, setup.replicates)
    normaliser = None if cohort is None else Normaliser(embedder.models, cohort, set(speakers), cache, setup.precision)
    clean = embedder.load_audio(Condition(None, None), setup.noise_seeds[0])
    outcome = Outcome()
    pooled: dict[tuple[str, str], list[NDArray[np.float32]]] = {}  # half the memory, for drawing
    panels = _panels(setup.suite)
    for seed in setup.noise_seeds:
        for condition in setup.suite.conditions:
            heard = clean if condition.is_clean else embedder.load_audio(condition, seed)
            enrolled = clean if setup.protocol == "clean-enrol" else heard
            for name in systems:
                key = ENROL if enrol is not None else name
                voiceprints = trials.enrolled(enrolled[key])
                scores = trial_scores(voiceprints, heard[name], trials.enrol, trials.test)
                if normaliser is not None:
                    sides = (key, voiceprints), (name, heard[name])
                    scores = normaliser.apply(scores, *sides, trials.enrol, trials.test)
                if scored is not None:
                    scored(name, condition, seed, scores)
                row = _row(name, condition, seed, scores, trials, setup, bootstrap, outcome)
                if decider is not None and name in decider.backends:
                    before = Condition(None, None) if setup.protocol == "clean-enrol" else condition
                    qualities = [embedder.quality(heard_in, seed) for heard_in in (before, condition)]
                    decided = decider.decide(name, condition, seed, (voiceprints, heard[name]), qualities)
                    outcome.decisions += decided
                    row = replace(row, cllr=decided[0].cllr)
                outcome.rows.append(row)
                if condition.is_clean or condition.snr_db in panels:
                    panel = "clean" if condition.is_clean else panels[condition.snr_db]
                    pooled.setdefault((name, panel), []).append(scores.astype(np.float32))
                if known and len(set(speakers)) > 1:
                    outcome.geometry.append(_geometry(name, condition, seed, heard[name], clean[name], speakers, setup))
                if seed == setup.noise_seeds[0] and condition.name in keep.conditions:
                    rows = heard[name] if keep.rows is None else heard[name][keep.rows]
                    outcome.embeddings[name, condition.name] = rows
            del heard, enrolled  # before the next condition is listened to
    for shown, parts in pooled.items():
        curve = det_curve(np.concatenate(parts), np.tile(trials.target, len(parts)))
        outcome.det[shown] = (curve.p_miss, curve.p_fa)
    return outcome


def bootstrap_of(manifest: Manifest, trials: TrialList, replicates: int) -> TrialBootstrap:
    """Return the draws of speakers that intervals are made of: for the same trials always the same, hence paired.

    Single trials are drawn where a speaker is unknown.
    """
    speakers = [utterance.speaker for utterance in manifest.utterances]
    numbers = np.unique(speakers, return_inverse=True)[1]  # a name per trial would be most of the memory
    known = all(speakers)
    return TrialBootstrap.draw(
        trials.target,
        numbers[trials.enrol_rows] if known else None,
        numbers[trials.test] if known else None,
        generator(0, 0, 0, "bootstrap"),
        replicates,
    )


def _panels(suite: Suite) -> dict[float | None, str]:
    """The DET curves worth a panel beside clean: all without noise, and the suite's middle and lowest SNR."""
    levels = sorted({condition.snr_db for condition in suite.noisy if condition.snr_db is not None}, reverse=True)
    chosen = dict.fromkeys([levels[len(levels) // 2], levels[-1]]) if levels else {}
    quiet = [condition for condition in suite.noisy if condition.noise is None]
    parts = ["rooms"] * any(condition.room for condition in quiet)
    parts += ["channels"] * any(condition.channel for condition in quiet)
    return {None: f"all {' and '.join(parts)}", **{level: f"all noise at {level:g} dB" for level in chosen}}


def _row(
    name: str,
    condition: Condition,
    seed: int,
    scores: FloatArray,
    trials: TrialList,
    setup: Setup,
    bootstrap: TrialBootstrap,
    outcome: Outcome,
) -> ResultRow:
    ranked = rank_trials(scores, trials.target)
    replicates = 100 * bootstrap.eer(scores, setup.eer_method)
    ends = interval(replicates) if np.isfinite(replicates).any() else (None, None)
    outcome.replicates[name, condition.name, seed] = replicates
    return ResultRow(
        system=name,
        protocol=setup.protocol,
        suite=setup.suite.label,
        condition=condition.name,
        noise=condition.kind,
        snr_db=condition.snr_db,
        noise_seed=seed,
        trials=len(trials.target),
        targets=int(np.count_nonzero(trials.target)),
        eer=100 * ranked_eer(ranked, setup.eer_method).eer,
        eer_low=ends[0],
        eer_high=ends[1],
        min_dcf_p01=ranked_min_dcf(ranked, 0.01),
        min_dcf_p05=ranked_min_dcf(ranked, 0.05),
        cllr=None,  # cosines are not log-likelihood ratios: `Decider` has it of models with a calibration
        min_cllr=ranked_min_cllr(ranked),
    )


def _geometry(
    name: str,
    condition: Condition,
    seed: int,
    embeddings: Embeddings,
    clean: Embeddings,
    speakers: np.ndarray,
    setup: Setup,
) -> GeometryRow:
    return GeometryRow(
        system=name,
        suite=setup.suite.label,
        condition=condition.name,
        noise=condition.kind,
        snr_db=condition.snr_db,
        noise_seed=seed,
        **asdict(geometry(embeddings, clean, speakers)),
    )
