"""What a verifier answers."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from voxanchor.audio.quality import Quality
from voxanchor.scoring.calibration import SearchRate

Answer = Literal["accepted", "rejected", "abstained", "uncalibrated"]


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        quality: of the recording; of a person, of all that is enrolled: lengths and speech summed, the ratio averaged.
        recordings: how many it is made of.
        warnings: what to know before trusting a decision.
    """

    quality: Quality
    recordings: int = 1
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """Whether two recordings, or a person and a recording, are of one voice.

    Attributes:
        decision: ``accepted`` or ``rejected``; ``abstained`` where a recording holds too little speech to say;
            ``uncalibrated`` where the model has no calibration, so that there is a score and no decision.
        score: cosine of the two embeddings, -1 to 1, or normalised by the cohort where the calibration says so; None
            when abstained.
        llr: natural-log likelihood ratio: how many times likelier (e to its power) the recordings are with one voice
            than with two; None without a calibration.
        threshold: on the llr; None without a calibration.
        prior: probability of one voice that the threshold is for; None where it is for a rate of false acceptance.
        sides: both, in the order given.
        reason: why there is no decision; empty when there is one.
    """

    decision: Answer
    score: float | None
    llr: float | None
    threshold: float | None
    prior: float | None
    sides: tuple[Side, Side]
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the voices were found to be one. Nothing else lets anybody in."""
        return self.decision == "accepted"

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, each saying which side it is about."""
        names = ("first", "second")
        return tuple(f"{name}: {text}" for name, side in zip(names, self.sides, strict=True) for text in side.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON holds."""
        return {**asdict(self), "sides": [_plain(side) for side in self.sides]}


@dataclass(frozen=True)
class Candidate:
    """Somebody enrolled whom a recording may be of.

    Attributes:
        person: the name.
        score: as in `Verification`.
        llr: as in `Verification`.
        probability: that it is this person, with all others and nobody taken into account, at the prior that the
            threshold is for; None without a calibration.
        warning: what to know of the voiceprint; empty where there is nothing.
    """

    person: str
    score: float
    llr: float | None
    probability: float | None
    warning: str = ""


@dataclass(frozen=True)
class Identification:
    """Whose voice a recording is, of all who are enrolled.

    Attributes:
        decision: ``accepted`` where `person` is the answer, ``rejected`` where nobody is, else as in `Verification`.
        person: the answer; None for nobody.
        candidates: the likeliest, best first; `person` is the first of them or none.
        nobody: probability that it is none of those enrolled; None without a calibration.
        side: the recording.
        threshold: on the llr of the likeliest; None without a calibration.
        prior: probability of one voice that the threshold is for; None where it is for a rate of false acceptance.
        people: how many were searched, at most: whoever is enrolled by several models that serve counts for each.
        false_acceptance: how often a stranger is taken for one of so many people at this threshold.
        reason: why there is no decision, or nobody to find; empty else.
        remark: why nobody is the answer although the likeliest would be accepted as a claim; empty as a rule.
    """

    decision: Answer
    person: str | None
    candidates: tuple[Candidate, ...]
    nobody: float | None
    side: Side
    threshold: float | None
    prior: float | None
    people: int
    false_acceptance: SearchRate
    reason: str = ""
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON holds."""
        return {**asdict(self), "side": _plain(self.side), "candidates": [asdict(item) for item in self.candidates]}


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment came to.

    Attributes:
        person: the name.
        recordings: how many were added.
        side: these together, with warnings: recordings that are unlike the others are named.
    """

    person: str
    recordings: int
    side: Side


def _plain(side: Side) -> dict[str, Any]:
    return {**asdict(side.quality), "recordings": side.recordings, "warnings": list(side.warnings)}
