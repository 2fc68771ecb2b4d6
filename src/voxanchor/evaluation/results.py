"""Rows, tables and averages of an evaluation."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.errors import CorpusError
from voxanchor.files import write_text
from voxanchor.scoring.bootstrap import interval
from voxanchor.scoring.geometry import ErrorCurve, Gain, mean_db_gained
from voxanchor.types import FloatArray


@dataclass(frozen=True)
class ResultRow:
    """Error rates of one system in one condition under one noise seed: a line of `results.csv`.

    Attributes:
        system: name of the model.
        protocol: "clean-enrol" or "both-noisy".
        suite: name of the set of conditions.
        condition: name of the condition, e.g. "clean" or "babble_5db".
        noise: what happens to the recordings, without the ratio: "babble", "reverb_0.6s", "reverb+babble"; empty for
            clean.
        snr_db: signal-to-noise ratio in dB; None without noise, in clean as in a room.
        noise_seed: seed of noise and rooms.
        trials: number of trials.
        targets: number of same-speaker trials among them.
        eer: equal error rate in percent.
        eer_low: lower end of its 95 % interval in percent; None when not computed.
        eer_high: upper end of its 95 % interval in percent; None when not computed.
        min_dcf_p01: normalised minimum detection cost at a target prior of 0.01.
        min_dcf_p05: the same at 0.05.
        cllr: cost of the log-likelihood ratios in bits; None for scores that are not calibrated.
        min_cllr: the same after ideal calibration.
    """

    system: str
    protocol: str
    suite: str
    condition: str
    noise: str
    snr_db: float | None
    noise_seed: int
    trials: int
    targets: int
    eer: float
    eer_low: float | None
    eer_high: float | None
    min_dcf_p01: float
    min_dcf_p05: float
    cllr: float | None
    min_cllr: float | None


@dataclass(frozen=True)
class GeometryRow:
    """Geometry of one system's embeddings in one condition: a line of `geometry.csv`.

    The first six columns are those of `ResultRow`, the others those of `scoring.geometry.Geometry`.
    """

    system: str
    suite: str
    condition: str
    noise: str
    snr_db: float | None
    noise_seed: int
    speakers: int
    utterances: int
    compactness: float
    separation_mean: float
    separation_p95: float
    ratio: float
    drift: float


@dataclass(frozen=True)
class SeededResultRow(ResultRow):
    """A `ResultRow` of one of several trainings of a system, with the seed of that training as the last column."""

    training_seed: int


@dataclass(frozen=True)
class SeededGeometryRow(GeometryRow):
    """A `GeometryRow` of one of several trainings of a system, with the seed of that training as the last column."""

    training_seed: int


@dataclass(frozen=True)
class DecisionRow:
    """Errors at one threshold of a calibrated system in one condition: a line of `decisions.csv`.

    Attributes:
        system: name of the model under test.
        protocol: as in `ResultRow`.
        suite: name of the suite.
        condition: name of the condition.
        noise_seed: which draw of the noise.
        cllr: cost of its log-likelihood ratios in bits.
        min_cllr: the same after ideal calibration.
        threshold: what it is for: ``prior 0.01``, or ``1 %`` of false acceptance where the calibration was fitted.
        llr: the threshold.
        false_acceptance: different-speaker trials that pass it, in percent.
        false_rejection: same-speaker trials that do not, in percent.
    """

    system: str
    protocol: str
    suite: str
    condition: str
    noise_seed: int
    cllr: float
    min_cllr: float
    threshold: str
    llr: float
    false_acceptance: float
    false_rejection: float


@dataclass(frozen=True)
class CompatibilityRow:
    """Old and new enrolments with old and new tests: a line of `compatibility.csv`.

    Attributes:
        condition: of the test, e.g. "clean" or "babble_5db"; enrolments are clean.
        noise: as in `ResultRow`.
        snr_db: as in `ResultRow`.
        pair: "old", "mixed" (old enrolment, new test) or "new".
        noise_seed: seed of noise and rooms.
        trials: number of trials; 0 where nobody says who speaks, and then there are no error rates.
        targets: number of same-speaker trials among them.
        eer: equal error rate in percent.
        eer_low: lower end of its 95 % interval.
        eer_high: upper end of its 95 % interval.
        false_acceptance_1: in percent, at the threshold that gives the old pair 1 % on clean trials; None where there
            are too few trials to set it.
        false_rejection_1: in percent, at the same threshold.
        false_acceptance_01: in percent, at the threshold that gives the old pair 0.1 %.
        false_rejection_01: in percent, at the same threshold.
        similarity: mean cosine of the clean enrolment and the test of the same segment.
        similarity_p05: 5th percentile of it.
    """

    condition: str
    noise: str
    snr_db: float | None
    pair: str
    noise_seed: int
    trials: int
    targets: int
    eer: float | None
    eer_low: float | None
    eer_high: float | None
    false_acceptance_1: float | None
    false_rejection_1: float | None
    false_acceptance_01: float | None
    false_rejection_01: float | None
    similarity: float
    similarity_p05: float


Row = TypeVar("Row", ResultRow, GeometryRow, SeededResultRow, SeededGeometryRow, CompatibilityRow, DecisionRow)


def write_csv(
    path: str | Path,
    rows: Sequence[ResultRow] | Sequence[GeometryRow] | Sequence[CompatibilityRow] | Sequence[DecisionRow],
) -> None:
    """Write rows of one kind as CSV with a header, atomically. None becomes an empty cell; floats keep every digit.

    Raises:
        ValueError: no rows, since their kind and so the header are then unknown.
    """
    if not rows:
        raise ValueError("A table needs at least one row.")
    names = [field.name for field in fields(rows[0])]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(
        ["" if value is None else value for value in (getattr(row, name) for name in names)] for row in rows
    )
    write_text(path, buffer.getvalue())


def read_csv(path: str | Path, kind: type[Row]) -> tuple[Row, ...]:
    """Return the rows of a table written by `write_csv`, in its order.

    Args:
        path: the CSV file.
        kind: the class of its rows.

    Raises:
        CorpusError: a missing file, a column too many or too few, or a cell that does not fit its column.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"Cannot read the table {path}: {error}.") from error
    types = get_type_hints(kind)
    reader = csv.DictReader(io.StringIO(text))
    if list(reader.fieldnames or ()) != list(types):
        raise CorpusError(f"{path} is no {kind.__name__} table: its header must be {','.join(types)}.")
    rows = []
    for record in reader:
        values: dict[str, Any] = {}
        for name, wanted in types.items():
            try:
                values[name] = _parse(record[name], wanted)
            except (TypeError, ValueError):
                raise CorpusError(
                    f"{path}, line {reader.line_num}: '{record[name]}' does not fit the column '{name}'."
                ) from None
        rows.append(kind(**values))
    return tuple(rows)


def _parse(cell: str | None, wanted: object) -> str | int | float | None:
    if cell is None:
        raise ValueError
    if wanted is str:
        return cell
    if wanted is int:
        return int(cell)
    if cell == "" and wanted == float | None:
        return None
    value = float(cell)
    if math.isnan(value):
        raise ValueError
    return value


# What a table of results says about each system, averaged over conditions and noise seeds.

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
