"""Tidy result tables: one row per system, condition and noise seed."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from voxanchor.errors import CorpusError
from voxanchor.files import write_text


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
