"""The results of a verifier, which the command line prints and the service answers as they are."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from voxanchor.audio.quality import Quality
from voxanchor.config import to_plain
from voxanchor.scoring.calibration import SearchRate

Answer = Literal["accepted", "rejected", "abstained", "uncalibrated"]


@dataclass(frozen=True)
class Side(Quality):
    """One side of a trial, with its quality.

    For a person it is that of all enrolment recordings together: durations and speech summed, the SNR averaged.

    Attributes:
        recordings: how many recordings it is made of.
        warnings: what to know before trusting a decision.
    """

    recordings: int = 1
    warnings: tuple[str, ...] = ()

    @classmethod
    def with_quality(cls, quality: Quality, recordings: int = 1, warnings: tuple[str, ...] = ()) -> Self:
        """Return the side of this quality."""
        return cls(**asdict(quality), recordings=recordings, warnings=warnings)

    @property
    def quality(self) -> Quality:
        """The quality alone."""
        return Quality(**{field.name: getattr(self, field.name) for field in fields(Quality)})


@dataclass(frozen=True)
class Verification:
    """The result of one trial: whether two recordings, or a person and a recording, are of the same speaker.

    Attributes:
        decision: ``accepted`` or ``rejected``; ``abstained`` where a recording holds too little speech to say;
            ``uncalibrated`` where the model has no calibration, so that there is a score and no decision.
        score: cosine of the two embeddings, -1 to 1, or normalised by the cohort where the calibration says so; None
            when abstained.
        llr: natural-log likelihood ratio: above 0 speaks for the same speaker; None without a calibration, or when
            abstained.
        threshold: the least llr that is accepted; None without a calibration.
        prior: probability of the same speaker that the threshold is for; None where it is for a rate of false
            acceptance.
        sides: the enrolment (a person, or the first recording) and the test, in this order.
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
        """Whether the speakers were found to be the same. Nothing else lets anybody in."""
        return self.decision == "accepted"

    @property
    def warnings(self) -> tuple[str, ...]:
        """All warnings, each saying which side it is about."""
        names = ("first", "second")
        return tuple(f"{name}: {text}" for name, side in zip(names, self.sides, strict=True) for text in side.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON holds."""
        return dict(to_plain(self))


@dataclass(frozen=True)
class Candidate:
    """An enrolled person who may be the speaker of a recording.

    Attributes:
        person: the name.
        score: as in `Verification`.
        llr: as in `Verification`.
        probability: that it is this person, with all others and nobody taken into account, at the prior that the
            threshold is for; None without a calibration.
        warning: what to know of the voiceprint before trusting a decision on it; empty where there is nothing.
    """

    person: str
    score: float
    llr: float | None
    probability: float | None
    warning: str = ""


@dataclass(frozen=True)
class Identification:
    """Which of the enrolled people is the speaker of a recording, if any.

    Attributes:
        decision: ``accepted`` where `person` is the answer, ``rejected`` where nobody is, else as in `Verification`.
        person: the answer; None for nobody.
        candidates: the likeliest, best first; `person` is the first of them or none.
        nobody: probability that it is none of those enrolled; None without a calibration.
        side: the recording.
        threshold: the least llr of the likeliest that is accepted; None without a calibration.
        prior: probability of the same speaker that the threshold is for; None where it is for a rate of false
            acceptance.
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
        """Return the fields as values that JSON holds."""
        return dict(to_plain(self))


@dataclass(frozen=True)
class Enrolled:
    """The result of an enrolment.

    Attributes:
        person: the name.
        recordings: how many were added.
        side: the added recordings together; its warnings name recordings that are unlike the others.
    """

    person: str
    recordings: int
    side: Side
