"""A set of models against a suite of conditions, every model on the same audio and the same trials.

``clean-enrol``: clean enrolment, test in the condition; how a service meets noise. ``both-noisy``: both sides in the
condition, with the same type and SNR, drawn apart; the protocol of ExU-Net and its successors.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.bank import NoiseBank
from voxanchor.conditions.spec import Condition, Reverb
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import Trials
from voxanchor.errors import CorpusError, ModelError
from voxanchor.evaluation.audience import ENROL, Audience
from voxanchor.evaluation.cache import EmbeddingCache
from voxanchor.evaluation.decisions import Decider
from voxanchor.evaluation.normalise import Normaliser
from voxanchor.evaluation.results import DecisionRow, GeometryRow, ResultRow
from voxanchor.models.registry import Embedder
from voxanchor.rng import generator
from voxanchor.scoring.bootstrap import TrialBootstrap, interval
from voxanchor.scoring.det import det_curve, rank_trials
from voxanchor.scoring.geometry import geometry
from voxanchor.scoring.judge import Judge
from voxanchor.scoring.metrics import EerMethod, ranked_eer, ranked_min_cllr, ranked_min_dcf
from voxanchor.scoring.scores import trial_scores
from voxanchor.types import Embeddings, FloatArray, IntArray

Protocol = Literal["clean-enrol", "both-noisy"]

Scored = Callable[[str, Condition, int, FloatArray], None]
"""Called with system, condition, noise seed and the (K,) scores of the trials."""


@dataclass(frozen=True)
class Setup:
    """How models are compared.

    Attributes:
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
    trials: Trials,
    bank: NoiseBank,
    setup: Setup,
    cache: EmbeddingCache,
    enrol: Embedder | None = None,
    cohort: Manifest | None = None,
    scored: Scored | None = None,
    judges: Mapping[str, Judge] | None = None,
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
        judges: calibrations of systems that have one, by name; they are for scores of a model with itself, and count
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
    decider = Decider(judges, trials, setup.protocol, setup.suite.label) if plain and judges else None
    audience = Audience(systems, enrol, manifest, bank, cache, setup.precision, with_quality=decider is not None)
    speakers = np.array([utterance.speaker for utterance in manifest.utterances])
    known = all(utterance.speaker for utterance in manifest.utterances)
    bootstrap = bootstrap_of(manifest, trials, setup.replicates)
    normaliser = None if cohort is None else Normaliser(audience.models, cohort, set(speakers), cache, setup.precision)
    clean = audience.hear(Condition(None, None), setup.noise_seeds[0])
    outcome = Outcome()
    pooled: dict[tuple[str, str], list[NDArray[np.float32]]] = {}  # half the memory, for drawing
    panels = _panels(setup.suite)
    for seed in setup.noise_seeds:
        for condition in setup.suite.conditions:
            heard = clean if condition.is_clean else audience.hear(condition, seed)
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
                if decider is not None and name in decider.judges:
                    before = Condition(None, None) if setup.protocol == "clean-enrol" else condition
                    qualities = [audience.quality(heard_in, seed) for heard_in in (before, condition)]
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


def bootstrap_of(manifest: Manifest, trials: Trials, replicates: int) -> TrialBootstrap:
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
    trials: Trials,
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
