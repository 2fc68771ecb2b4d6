"""A calibration as it is kept beside a model: the map, the thresholds, and what both rest on."""

import json
from dataclasses import dataclass, field
from typing import Self

from voxanchor.config import build, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.scoring.calibration import Calibration

FILE = "calibration.json"
COHORT_FILE = "cohort.safetensors"
TEXT_FILE = "calibration.md"
FORMAT = "voxanchor-calibration-1"


@dataclass(frozen=True)
class Threshold:
    """Where a stated share of different-speaker trials passes, or why that cannot be said.

    Attributes:
        false_acceptance: the share in percent.
        llr: the threshold, on the log-likelihood ratio; None where the trials do not support one.
        trials: different-speaker trials behind it, of clean and noisy conditions.
        passing: of these, how many it accepts.
        pairs: how many different pairs of speakers these are of.
        false_rejection: same-speaker trials that it rejects, in percent.
        low: lower end of the 95 % interval of its false acceptance in percent, with other speakers.
        high: upper end.
        remark: why there is none.
    """

    false_acceptance: float
    llr: float | None
    trials: int
    passing: int = 0
    pairs: int = 0
    false_rejection: float | None = None
    low: float | None = None
    high: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class ConditionFigures:
    """How good log-likelihood ratios are in a condition, on speakers that the fit did not hear.

    Attributes:
        condition: its name; ``all`` for all trials with clean enrolments together; with ``, both sides`` behind it
            where the enrolment is in the condition, too.
        trials: how many.
        targets: of these, of one speaker.
        eer: in percent.
        cllr_cosine: cost in bits of cosines taken for log-likelihood ratios: before any calibration.
        cllr_score: cost of a calibration by the score alone.
        cllr: cost of the calibration that is kept.
        min_cllr: cost after the best rising map of what is kept.
        false_acceptance: threshold's rate in percent, as text -> what it lets pass here, in percent.
        false_acceptance_score: the same with a calibration by the score alone, and its threshold for the rate.
        false_rejection: threshold's rate -> same-speaker trials that it rejects here, in percent.
        false_rejection_score: the same with a calibration by the score alone.
    """

    condition: str
    trials: int
    targets: int
    eer: float
    cllr_cosine: float
    cllr_score: float
    cllr: float
    min_cllr: float
    false_acceptance: dict[str, float] = field(default_factory=dict)
    false_acceptance_score: dict[str, float] = field(default_factory=dict)
    false_rejection: dict[str, float] = field(default_factory=dict)
    false_rejection_score: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CalibrationRecord:
    """What `voxanchor calibrate` leaves in a model directory.

    Attributes:
        model: fingerprint of the model that it is for.
        calibration: the map.
        thresholds: at the usual rates of false acceptance.
        figures: by condition, all trials together first.
        material: what it was fitted on, label -> value.
        cohort_top: how many of the stored cohort count; 0 without a cohort.
        cohort_sha256: of the cohort's file, so that another calibration's is not taken for it.
        format: of the file.
    """

    model: str
    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    figures: tuple[ConditionFigures, ...]
    material: dict[str, str]
    cohort_top: int = 0
    cohort_sha256: str = ""
    format: str = FORMAT

    def text(self) -> str:
        """Return the content of ``calibration.json``."""
        return json.dumps(to_plain(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Return the record in a text.

        Args:
            text: what `text` gave.
            where: its place, for messages.

        Raises:
            ModelError: another format, or damaged.
        """
        try:
            values = json.loads(text, parse_constant=_refuse)
            if not isinstance(values, dict) or values.get("format") != FORMAT:
                raise ModelError(f"{where}: not a calibration that this program reads. Run voxanchor calibrate again.")
            return build(cls, values, where)
        except (ValueError, RecipeError) as error:
            raise ModelError(f"{where}: damaged ({error}). Copy it again, or run voxanchor calibrate.") from None

    def threshold(self, false_acceptance: float) -> Threshold:
        """Return the threshold at a rate of false acceptance in percent.

        Raises:
            RecipeError: a rate that was not looked at.
        """
        for threshold in self.thresholds:
            if abs(threshold.false_acceptance - false_acceptance) < 1e-9:
                return threshold
        known = ", ".join(f"{threshold.false_acceptance:g}" for threshold in self.thresholds)
        raise RecipeError(f"no threshold for {false_acceptance:g} % false acceptance: there is one for {known} %")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that stands in it")
