"""Systems compared over training seeds: paired differences with intervals.

All systems meet the same drawn speakers, and systems with the same training seeds the same drawn seeds: a seed decides
initial weights and order of data, so what it does to one system it may do to another.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import stdev

import numpy as np

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import (
    CLEAN,
    NOISY,
    OVERALL,
    Estimate,
    GeometryRow,
    ResultRow,
    SeededGeometryRow,
    SeededResultRow,
    SystemSummary,
    summarise,
)
from voxanchor.files import write_text
from voxanchor.rng import generator
from voxanchor.scoring.bootstrap import interval
from voxanchor.scoring.geometry import ErrorCurve, Gain, mean_db_gained
from voxanchor.types import FloatArray

SETTLED = 0.05
"""A difference counts as settled below this p-value."""


@dataclass(frozen=True)
class Contrast(Estimate):
    """A difference of two systems with its 95 % interval over speakers and training seeds.

    Attributes:
        p: two-sided p-value of "no difference"; None where the speakers were too few to draw them anew.
    """

    p: float | None = None

    @property
    def settled(self) -> bool:
        """Whether the sign of the difference is more than chance would give."""
        return self.p is not None and self.p < SETTLED


def contrast(value: float, samples: FloatArray) -> Contrast:
    """Return a difference with interval and p-value.

    Args:
        value: the difference as measured.
        samples: (R,) the difference in every replicate; NaN ones are left out.
    """
    return Contrast(value, *ends(samples), p_value(samples))


def p_value(samples: FloatArray) -> float | None:
    """Return twice the smaller share of replicates on either side of zero, at most 1; None without replicates.

    A difference of exactly zero counts for both sides, and one replicate is added to each, so that the value is never
    0: with R replicates the least is 2 / (R + 1).

    Args:
        samples: (R,) differences; NaN ones are left out.
    """
    known = samples[~np.isnan(samples)]
    if known.size == 0:
        return None
    side = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return float(min(1.0, 2 * (side + 1) / (known.size + 1)))


def ends(samples: FloatArray) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of (R,) replicates, or twice None where none is a number."""
    return interval(samples) if np.isfinite(samples).any() else (None, None)


def seed_weights(seeds: Sequence[int], replicates: int) -> FloatArray:
    """Return how much each training seed weighs in each replicate: (K, R) float64, columns sum to 1.

    K - 1 of the K seeds are drawn, with replacement. Drawing K, as is usual, would make the variance of a mean too
    small by (K - 1) / K, a third for three seeds; this is exact (Rao and Wu, "Resampling inference with complex survey
    data", 1988). The draw depends on the seeds and nothing else: systems with the same seeds share it.

    Args:
        seeds: the K training seeds in rising order; of one, every replicate takes it.
        replicates: the number R.
    """
    count = len(seeds)
    draw = generator(0, 0, ",".join(map(str, seeds)), "training seeds")
    drawn = draw.integers(0, count, size=(replicates, max(1, count - 1)))
    return np.stack([(drawn == place).mean(axis=1) for place in range(count)])


def over_seeds(samples: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the mean over training seeds of (K, C, R) samples: (C, R).

    Args:
        samples: a value for every seed, condition and replicate.
        weights: (K, R) of the seeds; None for equal ones.
    """
    if weights is None:
        mean: FloatArray = samples.mean(axis=0)
        return mean
    weighted: FloatArray = np.einsum("kcr,kr->cr", samples, weights)
    return weighted


def gains(base: FloatArray, robust: FloatArray, kinds: Mapping[str, tuple[FloatArray, tuple[int, ...]]]) -> FloatArray:
    """Return the dB gained in every replicate: (R,), NaN where a replicate has none.

    A replicate that allows only a bound counts as that bound.

    Args:
        base: (C, R) EERs of the base.
        robust: (C, R) EERs of the system compared with it.
        kinds: kind of noise -> SNRs in dB, rising, and the places of their conditions.
    """
    found = np.full(base.shape[1], np.nan)
    for replicate in np.flatnonzero(np.isfinite(base).all(axis=0) & np.isfinite(robust).all(axis=0)):
        curves = [
            {kind: ErrorCurve(levels, eers[list(places), replicate]) for kind, (levels, places) in kinds.items()}
            for eers in (base, robust)
        ]
        gain = mean_db_gained(*curves)
        if gain is not None:
            found[replicate] = gain.db
    return found


# Systems that were trained several times: the names of their runs, and their numbers as arrays by training seed.

_MARK = "#"

MEASURES = ("compactness", "separation_mean", "separation_p95", "ratio", "drift")
"""Columns of `geometry.csv` that are measures."""


def run_name(system: str, seed: int) -> str:
    """Return the name under which one training of a system is evaluated: ``joint#1``."""
    return f"{system}{_MARK}{seed}"


def split_name(name: str) -> tuple[str, int]:
    """Return system and training seed of a run; a name without a seed is the only run of its system, seed 0."""
    system, mark, seed = name.rpartition(_MARK)
    return (system, int(seed)) if mark and seed.isdecimal() else (name, 0)


@dataclass(frozen=True)
class SeededEstimate(Estimate):
    """The mean over training seeds, its 95 % interval over speakers, and the value of every seed.

    Attributes:
        seeds: one value per training seed, in rising order of the seeds.
    """

    seeds: tuple[float, ...] = ()

    @property
    def spread(self) -> tuple[float, float] | None:
        """Least and largest value; None for a single training."""
        return (min(self.seeds), max(self.seeds)) if len(self.seeds) > 1 else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds, of three or more."""
        return stdev(self.seeds) if len(self.seeds) > 2 else None


def runs_of(outcome: Outcome, first: str) -> dict[str, tuple[int, ...]]:
    """Return the training seeds of each system in rising order; `first` in front, the others as they appear.

    Raises:
        ValueError: no run of `first`.
    """
    found: dict[str, set[int]] = {first: set()}
    for row in outcome.rows:
        system, seed = split_name(row.system)
        found.setdefault(system, set()).add(seed)
    if not found[first]:
        raise ValueError(f"There is no result of '{first}', only of {', '.join(list(found)[1:]) or 'nothing'}.")
    return {system: tuple(sorted(seeds)) for system, seeds in found.items()}


def results_rows(outcomes: Mapping[str, Outcome]) -> list[SeededResultRow]:
    """Return the rows of all suites for `results.csv`: `system` without the training seed, which has its own column.

    `suite` is what the outcome goes by: two of them may be under the same conditions, in other noise.
    """
    return [
        SeededResultRow(**{**asdict(row), "system": system, "suite": suite}, training_seed=seed)
        for suite, outcome in outcomes.items()
        for row in outcome.rows
        for system, seed in [split_name(row.system)]
    ]


def geometry_rows(outcomes: Mapping[str, Outcome]) -> list[SeededGeometryRow]:
    """Return the rows of all suites for `geometry.csv`, as `results_rows` does."""
    return [
        SeededGeometryRow(**{**asdict(row), "system": system, "suite": suite}, training_seed=seed)
        for suite, outcome in outcomes.items()
        for row in outcome.geometry
        for system, seed in [split_name(row.system)]
    ]


@dataclass(frozen=True)
class Samples:
    """The EERs of one suite in percent, averaged over noise seeds.

    Attributes:
        conditions: names of the C conditions.
        eers: system -> (K, C) float64, one row per training seed in rising order.
        replicates: system -> (K, C, R) float64, of the same R draws of speakers for all systems; NaN where a draw held
            no target or no non-target trial.
        kinds: kind of noise -> SNRs in dB, rising, and the places of their conditions.
    """

    conditions: tuple[str, ...]
    eers: Mapping[str, FloatArray]
    replicates: Mapping[str, FloatArray]
    kinds: Mapping[str, tuple[FloatArray, tuple[int, ...]]]

    @classmethod
    def of(cls, outcome: Outcome, runs: Mapping[str, Sequence[int]]) -> "Samples":
        """Return the arrays of an outcome.

        Raises:
            ValueError: a run that was not measured in a condition.
        """
        rows: dict[tuple[str, str], list[ResultRow]] = {}
        for row in outcome.rows:
            rows.setdefault((row.system, row.condition), []).append(row)
        conditions = tuple(dict.fromkeys(condition for _, condition in rows))
        kinds: dict[str, dict[float, int]] = {}
        for row in outcome.rows:
            if row.snr_db is not None:
                kinds.setdefault(row.noise, {})[row.snr_db] = conditions.index(row.condition)
        names = {system: [_known(outcome, system, seed) for seed in seeds] for system, seeds in runs.items()}
        missing = [
            f"{name} in {c}" for own in names.values() for name in own for c in conditions if (name, c) not in rows
        ]
        if missing:
            raise ValueError(f"Systems can be compared in conditions that all were measured in; not {missing[0]}.")

        def eer(name: str, condition: str) -> float:
            return float(np.mean([row.eer for row in rows[name, condition]]))

        def samples(name: str, condition: str) -> FloatArray:
            own = rows[name, condition]
            mean: FloatArray = np.mean([outcome.replicates[name, condition, row.noise_seed] for row in own], axis=0)
            return mean

        return cls(
            conditions,
            {system: np.array([[eer(name, c) for c in conditions] for name in own]) for system, own in names.items()},
            {
                system: np.array([[samples(name, c) for c in conditions] for name in own])
                for system, own in names.items()
            },
            {
                kind: (np.array(sorted(levels)), tuple(levels[level] for level in sorted(levels)))
                for kind, levels in kinds.items()
            },
        )


def _known(outcome: Outcome, system: str, seed: int) -> str:
    """The name a run has in the table: with its seed, or the system's own."""
    name = run_name(system, seed)
    return name if any(row.system == name for row in outcome.rows) else system


def plain_rows(
    outcome: Outcome, runs: Mapping[str, Sequence[int]]
) -> tuple[list[ResultRow], dict[tuple[str, str, int], FloatArray]]:
    """Return rows and replicates under the systems' own names, as `summarise` takes them.

    Each pair of training seed and noise seed becomes a noise seed of its own, so that averages are over both.

    Args:
        outcome: of one suite.
        runs: training seeds of each system; decides their order.
    """
    trainings = max(len(seeds) for seeds in runs.values())
    rows, replicates = [], {}
    for system, seeds in runs.items():
        for row in outcome.rows:
            name, seed = split_name(row.system)
            if name == system:
                number = row.noise_seed * trainings + seeds.index(seed)
                rows.append(replace(row, system=system, noise_seed=number))
                replicates[system, row.condition, number] = outcome.replicates[
                    row.system, row.condition, row.noise_seed
                ]
    return rows, replicates


def seeded_geometry(rows: Sequence[GeometryRow]) -> dict[str, dict[str, SeededEstimate]]:
    """Return the measures of one system in one suite, averaged over noise seeds and then over training seeds.

    Args:
        rows: of that system, under its `run_name`s, and that suite.
    """
    conditions = list(dict.fromkeys(row.condition for row in rows))
    parts = {name: [name] for name in conditions}
    if noisy := [name for name in conditions if name != CLEAN]:
        parts[NOISY] = noisy
    seeds = sorted({split_name(row.system)[1] for row in rows})

    def measured(measure: str, names: Sequence[str]) -> SeededEstimate:
        each = [
            float(
                np.mean(
                    [
                        getattr(row, measure)
                        for row in rows
                        if row.condition in names and split_name(row.system)[1] == seed
                    ]
                )
            )
            for seed in seeds
        ]
        return SeededEstimate(float(np.mean(each)), None, None, tuple(each))

    return {part: {measure: measured(measure, names) for measure in MEASURES} for part, names in parts.items()}


# The figures of a comparison: averages over conditions and training seeds, and dB gained, with their replicates.

GAIN = "db_gained"
"""The figure "dB gained over the base"; higher is better, where the others are errors."""


def seeded_figures(
    samples: Mapping[str, Samples], runs: Mapping[str, Sequence[int]], base: str
) -> tuple[dict[str, dict[str, SeededEstimate]], dict[str, dict[str, FloatArray]]]:
    """Return the figures of each system, and their replicates over speakers and training seeds.

    The figures' intervals are over speakers, for the training seeds as they are. The base has 0 dB gained, in every
    replicate, so that a difference of gains to it is the gain itself.

    Args:
        samples: by suite, the main one first.
        runs: training seeds of each system.
        base: system that dB gained is over.

    Returns:
        System -> figure -> value, and system -> figure -> (R,) replicates.
    """
    figures: dict[str, dict[str, SeededEstimate]] = {system: {} for system in runs}
    resampled: dict[str, dict[str, FloatArray]] = {system: {} for system in runs}
    for number, (suite, found) in enumerate(samples.items()):
        noisy = [place for place, name in enumerate(found.conditions) if name != CLEAN]
        clean = [place for place, name in enumerate(found.conditions) if name == CLEAN]
        parts = {CLEAN: clean, NOISY: noisy, OVERALL: clean + noisy} if number == 0 else {suite: noisy}
        for system, seeds in runs.items():
            eers, replicates = found.eers[system], found.replicates[system]
            by_speaker, by_both = (
                over_seeds(replicates),
                over_seeds(replicates, seed_weights(seeds, replicates.shape[2])),
            )
            for figure, places in parts.items():
                if places:
                    values = eers[:, places].mean(axis=1)
                    figures[system][figure] = SeededEstimate(
                        float(values.mean()), *ends(by_speaker[places].mean(axis=0)), tuple(values.tolist())
                    )
                    resampled[system][figure] = by_both[places].mean(axis=0)
        if number == 0 and found.kinds:
            _add_gains(found, runs, base, figures, resampled)
    return figures, resampled


def _add_gains(
    found: Samples,
    runs: Mapping[str, Sequence[int]],
    base: str,
    figures: dict[str, dict[str, SeededEstimate]],
    resampled: dict[str, dict[str, FloatArray]],
) -> None:
    by_speaker = {system: over_seeds(found.replicates[system]) for system in runs}
    by_both = {
        system: over_seeds(found.replicates[system], seed_weights(seeds, by_speaker[system].shape[1]))
        for system, seeds in runs.items()
    }
    own = dict(zip(runs[base], found.eers[base], strict=True))
    for system, seeds in runs.items():
        if system == base:  # nothing over itself, also in a replicate
            resampled[base][GAIN] = np.zeros(by_both[base].shape[1])
            figures[base][GAIN] = SeededEstimate(0.0)
            continue
        mean = _gain(found, found.eers[base].mean(axis=0), found.eers[system].mean(axis=0))
        if mean is None:
            continue
        each = [
            _gain(found, own.get(seed, found.eers[base].mean(axis=0)), eers)
            for seed, eers in zip(seeds, found.eers[system], strict=True)
        ]
        figures[system][GAIN] = SeededEstimate(
            mean.db,
            *ends(gains(by_speaker[base], by_speaker[system], found.kinds)),
            tuple(gain.db for gain in each if gain is not None),
        )
        resampled[system][GAIN] = gains(by_both[base], by_both[system], found.kinds)


def _gain(found: Samples, base: FloatArray, robust: FloatArray) -> Gain | None:
    curves = [
        {kind: ErrorCurve(levels, eers[list(places)]) for kind, (levels, places) in found.kinds.items()}
        for eers in (base, robust)
    ]
    return mean_db_gained(*curves)


# What the evaluation of systems that were trained with several seeds says about each and about their differences.

__all__ = [
    "ComparedSystem",
    "ComparedSystems",
    "compare_systems",
    "geometry_rows",
    "results_rows",
    "run_name",
    "split_name",
    "write_compared_summary",
]

Geometry = Mapping[str, Mapping[str, SeededEstimate]]
"""Condition, or "noisy" for the mean of all but clean -> measure -> value."""


@dataclass(frozen=True)
class ComparedSystem:
    """One system, averaged over its training seeds and the seeds of the noise.

    Attributes:
        seeds: its training seeds in rising order.
        figures: "clean", "noisy" (`avg15` of the suite "noise") and "overall" (`avg16`) of the main suite; the mean of
            all conditions but clean of every further suite under its name; EERs in percent. "db_gained" in dB. A
            figure that the suites do not have is missing.
        gain: dB gained over the base, with what bounds it; None for the base and without noisy conditions.
        minus: for every other system, its figures taken from this one's.
        suites: suite -> the summary of the mean over training seeds, as `summarise` gives it.
        geometry: suite -> the geometry of the embeddings; empty where the speakers are unknown.
    """

    seeds: tuple[int, ...]
    figures: Mapping[str, SeededEstimate]
    gain: Gain | None
    minus: Mapping[str, Mapping[str, Contrast]]
    suites: Mapping[str, SystemSummary]
    geometry: Mapping[str, Geometry]


@dataclass(frozen=True)
class ComparedSystems:
    """All systems, the base in front.

    Attributes:
        base: the system that dB gained is over.
        ours: the system that the others are opponents of.
        suites: names, the main one first.
        systems: by name.
        draws: how often speakers and training seeds were drawn anew.
    """

    base: str
    ours: str
    suites: tuple[str, ...]
    systems: Mapping[str, ComparedSystem]
    draws: int

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures there are, in the order of the headline."""
        return tuple(dict.fromkeys(name for system in self.systems.values() for name in system.figures))

    def mean_of(self, figure: str) -> int:
        """Return the number of conditions that a figure is the mean of."""
        suite = figure if figure in self.suites[1:] else self.suites[0]
        names = list(self.systems[self.base].suites[suite].conditions)
        return 1 if figure == CLEAN else len(names) if figure == OVERALL else len([n for n in names if n != CLEAN])

    @property
    def against(self) -> dict[str, Mapping[str, Contrast]]:
        """Opponent -> figure -> ours minus the opponent's."""
        return {name: self.systems[self.ours].minus[name] for name in self.systems if name != self.ours}

    def summaries(self, suite: str) -> dict[str, SystemSummary]:
        """Return the summaries of one suite."""
        return {name: system.suites[suite] for name, system in self.systems.items()}


def compare_systems(outcomes: Mapping[str, Outcome], *, base: str, ours: str) -> ComparedSystems:
    """Return figures, intervals and paired differences of all systems.

    Args:
        outcomes: suite -> what was found, for systems under their `run_name`s, all on the same trials. The first suite
            is the main one.
        base: system without which there is no dB gained. With one run only it stands against every training seed of
            the others.
        ours: system whose differences to the others are of interest.

    Raises:
        ValueError: a system missing or not measured everywhere, suites with other systems than the first, or a suite
            whose name is that of a figure.
    """
    if not outcomes:
        raise ValueError("A comparison needs at least one suite.")
    main, *further = outcomes
    if taken := {CLEAN, NOISY, OVERALL, GAIN} & set(further):
        raise ValueError(f"No further suite may be called '{taken.pop()}': a figure has that name.")
    runs = runs_of(outcomes[main], base)
    if ours not in runs or ours == base:
        raise ValueError(f"'{ours}' must be one of the systems compared with the base: {', '.join(list(runs)[1:])}.")
    for suite in further:
        if runs_of(outcomes[suite], base) != runs:
            raise ValueError(f"The suite '{suite}' was not measured on the same systems and seeds as '{main}'.")
    samples = {suite: Samples.of(outcome, runs) for suite, outcome in outcomes.items()}
    summaries = {suite: summarise(*plain_rows(outcome, runs)) for suite, outcome in outcomes.items()}
    figures, resampled = seeded_figures(samples, runs, base)
    return ComparedSystems(
        base,
        ours,
        tuple(outcomes),
        {
            system: ComparedSystem(
                seeds,
                {name: value for name, value in figures[system].items() if system != base or name != GAIN},
                summaries[main][system].gain,
                {
                    other: {
                        figure: contrast(
                            figures[system][figure].value - figures[other][figure].value,
                            resampled[system][figure] - resampled[other][figure],
                        )
                        for figure in figures[system]
                        if figure in figures[other]
                    }
                    for other in runs
                    if other != system
                },
                {suite: summaries[suite][system] for suite in outcomes},
                {
                    suite: geometry
                    for suite, outcome in outcomes.items()
                    if (
                        geometry := seeded_geometry(
                            [row for row in outcome.geometry if split_name(row.system)[0] == system]
                        )
                    )
                },
            )
            for system, seeds in runs.items()
        },
        samples[main].replicates[base].shape[2],
    )


def write_compared_summary(path: str | Path, compared: ComparedSystems) -> None:
    """Write `summary.json`: the keys of `summary.write_summary`, and what several seeds and suites add.

    Per system: every figure with `_low` and `_high` (95 % over speakers), `_seeds` (a list, one value per training
    seed) and, of three seeds or more, `_deviation`; `unseen` for the suite "unseen-noise", other further suites under
    their names; `db_gained` with `db_gained_bound`; `training_seeds`; `conditions` and, of every suite, `suites`;
    `minus`, the differences to the other systems, with `_low`, `_high` and `_p` over speakers and training seeds;
    `geometry` by suite, condition and measure. EERs in percent. A ratio without bound is null.
    """
    aliases = _aliases(compared)
    content = {name: _json(system, compared, aliases) for name, system in compared.systems.items()}
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _aliases(compared: ComparedSystems) -> dict[str, tuple[str, ...]]:
    """The keys of each figure; the suite "noise" has the field's names for its averages."""
    field = compared.suites[0] in FIELD_SUITES
    return {
        CLEAN: ("clean",),
        NOISY: ("avg15", "avg_noisy") if field else ("avg_noisy",),
        OVERALL: ("avg16", "avg_all") if field else ("avg_all",),
        GAIN: (GAIN,),
        **{suite: ("unseen" if suite == "unseen-noise" else suite,) for suite in compared.suites[1:]},
    }


def _json(system: ComparedSystem, compared: ComparedSystems, aliases: Mapping[str, Sequence[str]]) -> dict[str, object]:
    content: dict[str, object] = {"training_seeds": list(system.seeds)}
    for figure, estimate in system.figures.items():
        for key in aliases[figure]:
            content |= _ends(key, estimate)
            content[f"{key}_seeds"] = list(estimate.seeds)
            if estimate.deviation is not None:
                content[f"{key}_deviation"] = estimate.deviation
    if system.gain is not None:
        content["db_gained_bound"] = system.gain.bound
    content["conditions"] = {
        name: estimate.value for name, estimate in system.suites[compared.suites[0]].conditions.items()
    }
    content["suites"] = {
        suite: {name: estimate.value for name, estimate in summary.conditions.items()}
        for suite, summary in system.suites.items()
    }
    content["minus"] = {
        other: {
            key: value
            for figure, difference in figures.items()
            for alias in aliases[figure]
            for key, value in {**_ends(alias, difference), f"{alias}_p": difference.p}.items()
        }
        for other, figures in system.minus.items()
    }
    content["geometry"] = {
        suite: {
            part: {
                measure: estimate.value if math.isfinite(estimate.value) else None for measure, estimate in by.items()
            }
            for part, by in geometry.items()
        }
        for suite, geometry in system.geometry.items()
    }
    return content


def _ends(key: str, estimate: Estimate) -> dict[str, float]:
    content = {key: estimate.value}
    if estimate.low is not None and estimate.high is not None:
        content |= {f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    return content
