"""What a table of results says about each system, averaged over conditions and noise seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.evaluation.results import ResultRow
from voxanchor.files import write_text
from voxanchor.scoring.bootstrap import interval
from voxanchor.scoring.gain import ErrorCurve, Gain, mean_db_gained
from voxanchor.types import FloatArray

Replicates = Mapping[tuple[str, str, int], FloatArray]
"""(system, condition, noise_seed) -> (R,) EERs in percent, all from the draws of one `TrialBootstrap`."""

CLEAN, NOISY, OVERALL = "clean", "noisy", "overall"
"""The three figures of a system: without noise, mean of all other conditions, mean of all conditions."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, where one was computed."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SystemSummary:
    """EERs of one system in percent, averaged over noise seeds.

    Attributes:
        suite: name of the set of conditions.
        figures: "clean", "noisy" (`avg15` of the suite "noise") and "overall" (`avg16`), as far as the suite has them.
        conditions: EER of every condition, in the order of the table.
        curves: EER against SNR for each kind of noise.
        gain: dB gained over the first system of the table; None for that system itself and without noisy conditions.
        minus: for every other system, its figures taken from this one's, with paired intervals where replicates were
            given.
    """

    suite: str
    figures: Mapping[str, Estimate]
    conditions: Mapping[str, Estimate]
    curves: Mapping[str, ErrorCurve]
    gain: Gain | None = None
    minus: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)


def summarise(rows: Sequence[ResultRow], replicates: Replicates | None = None) -> dict[str, SystemSummary]:
    """Return a summary per system, in the order in which systems first appear.

    Averages weigh every condition equally. With replicates, intervals of averages and of differences between systems
    come from the resampled speakers that all conditions and systems share; without, only single conditions have
    intervals (the mean of their ends over noise seeds).

    Args:
        rows: rows of one protocol and one suite; every system on the same conditions.
        replicates: EERs of the bootstrap for every row, in percent.

    Raises:
        ValueError: no rows, several protocols or suites, or systems measured on different conditions.
    """
    if len({(row.protocol, row.suite) for row in rows}) != 1:
        raise ValueError("A summary needs rows of exactly one protocol and one suite.")
    systems: dict[str, dict[str, list[ResultRow]]] = {}
    for row in rows:
        systems.setdefault(row.system, {}).setdefault(row.condition, []).append(row)
    if len({frozenset(conditions) for conditions in systems.values()}) > 1:
        raise ValueError("Systems were measured on different conditions: their averages cannot be compared.")
    first = next(iter(systems.values()))
    groups = {
        CLEAN: [name for name in first if name == "clean"],
        NOISY: [name for name in first if name != "clean"],
        OVERALL: list(first),
    }
    samples = {system: _figure_samples(conditions, replicates, groups) for system, conditions in systems.items()}
    plain = {
        system: SystemSummary(
            rows[0].suite,
            {name: _figure(conditions, groups[name], samples[system].get(name)) for name in groups if groups[name]},
            {name: _figure(conditions, [name], _condition_samples(conditions, replicates, name)) for name in first},
            _curves(conditions),
        )
        for system, conditions in systems.items()
    }
    base = next(iter(plain))
    return {
        system: replace(
            summary,
            gain=None if system == base else mean_db_gained(plain[base].curves, summary.curves),
            minus={
                other: _difference(summary, plain[other], samples[system], samples[other])
                for other in plain
                if other != system
            },
        )
        for system, summary in plain.items()
    }


def _condition_samples(
    conditions: Mapping[str, Sequence[ResultRow]], replicates: Replicates | None, name: str
) -> FloatArray | None:
    if replicates is None:
        return None
    samples: FloatArray = np.mean(
        [replicates[row.system, row.condition, row.noise_seed] for row in conditions[name]], axis=0
    )
    return samples


def _figure_samples(
    conditions: Mapping[str, Sequence[ResultRow]], replicates: Replicates | None, groups: Mapping[str, Sequence[str]]
) -> dict[str, FloatArray]:
    samples = {name: _condition_samples(conditions, replicates, name) for name in conditions}
    known = {name: values for name, values in samples.items() if values is not None}
    return {
        figure: np.mean([known[name] for name in names], axis=0) for figure, names in groups.items() if known and names
    }


def _figure(
    conditions: Mapping[str, Sequence[ResultRow]], names: Sequence[str], samples: FloatArray | None
) -> Estimate:
    value = float(np.mean([np.mean([row.eer for row in conditions[name]]) for name in names]))
    if samples is not None:
        return Estimate(value, *interval(samples))
    rows = conditions[names[0]]
    lows = [row.eer_low for row in rows if row.eer_low is not None]
    highs = [row.eer_high for row in rows if row.eer_high is not None]
    if len(names) == 1 and len(lows) == len(highs) == len(rows):
        return Estimate(value, float(np.mean(lows)), float(np.mean(highs)))
    return Estimate(value)


def _curves(conditions: Mapping[str, Sequence[ResultRow]]) -> dict[str, ErrorCurve]:
    points: dict[str, dict[float, float]] = {}
    for rows in conditions.values():
        if rows[0].snr_db is not None:
            points.setdefault(rows[0].noise, {})[rows[0].snr_db] = float(np.mean([row.eer for row in rows]))
    return {noise: ErrorCurve.of(list(curve), list(curve.values())) for noise, curve in points.items()}


def _difference(
    one: SystemSummary, other: SystemSummary, ours: Mapping[str, FloatArray], theirs: Mapping[str, FloatArray]
) -> dict[str, Estimate]:
    return {
        figure: Estimate(
            estimate.value - other.figures[figure].value,
            *(interval(ours[figure] - theirs[figure]) if figure in ours else (None, None)),
        )
        for figure, estimate in one.figures.items()
    }


def write_summary(path: str | Path, summaries: Mapping[str, SystemSummary]) -> None:
    """Write `summary.json`: per system the EERs in percent, with `_low` and `_high` where there is an interval.

    Keys are `clean`, `avg_noisy`, `avg_all`, for the suite "noise" also `avg15` and `avg16`; then `conditions` (EER by
    name), `db_gained` with `db_gained_bound` (see `scoring.gain`), and `minus` (differences to the other systems).
    """
    content = {system: _plain(summary) for system, summary in summaries.items()}
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _plain(summary: SystemSummary) -> dict[str, object]:
    content: dict[str, object] = dict(_ends(summary.suite, summary.figures))
    content["conditions"] = {name: estimate.value for name, estimate in summary.conditions.items()}
    if summary.gain is not None:
        content["db_gained"], content["db_gained_bound"] = summary.gain.db, summary.gain.bound
    content["minus"] = {other: _ends(summary.suite, figures) for other, figures in summary.minus.items()}
    return content


def _ends(suite: str, figures: Mapping[str, Estimate]) -> dict[str, float]:
    aliases = {CLEAN: ["clean"], NOISY: ["avg_noisy"], OVERALL: ["avg_all"]}
    if suite in FIELD_SUITES:
        aliases[NOISY].insert(0, "avg15")
        aliases[OVERALL].insert(0, "avg16")
    ends = {}
    for figure, estimate in figures.items():
        for name in aliases[figure]:
            ends[name] = estimate.value
            if estimate.low is not None and estimate.high is not None:
                ends[f"{name}_low"], ends[f"{name}_high"] = estimate.low, estimate.high
    return ends
