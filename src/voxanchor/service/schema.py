"""What the service answers, as pydantic models."""

from typing import Literal

from pydantic import BaseModel, Field

Answer = Literal["accepted", "rejected", "abstained", "uncalibrated"]

LLR = "Natural-log likelihood ratio: above 0 speaks for one voice. Null without a calibration, or when abstained."
SCORE = "Cosine of the embeddings, -1 to 1, or normalised by a cohort where the calibration says so."


class Side(BaseModel):
    """One side of a comparison and what it is worth. Of a person: all that is enrolled, together."""

    duration_s: float
    speech_s: float = Field(description="Seconds of active speech.")
    snr_db: float = Field(description="Estimate of the signal-to-noise ratio, -10 to 50.")
    clipped: float = Field(description="Share of samples in cut-off tops, 0 to 1.")
    level_db: float | None = Field(None, description="Active level in dB of full scale; null of people and silence.")
    dc: float | None = Field(None, description="DC offset in full scales; null of a person.")
    bandwidth_hz: float | None = Field(
        None, description="Highest frequency with sound in Hz; null of people and silence."
    )
    peak: float | None = Field(None, description="Largest absolute sample, full scale being 1; null of a person.")
    recordings: int
    warnings: list[str] = Field(description="What to know before trusting a decision on it.")


class Verification(BaseModel):
    """Whether two sides are of one voice. Only ``accepted`` lets anybody in."""

    decision: Answer
    score: float | None = Field(description=SCORE)
    llr: float | None = Field(description=LLR)
    threshold: float | None = Field(description="What the llr was compared with.")
    prior: float | None = Field(description="Prior that the threshold is for; null where it is for a false acceptance.")
    sides: list[Side] = Field(description="The person or first recording, then the recording that was heard.")
    reason: str = Field(description="Why there is no decision; empty when there is one.")


class Candidate(BaseModel):
    """Somebody enrolled whom a recording may be of."""

    person: str
    score: float = Field(description=SCORE)
    llr: float | None = Field(description=LLR)
    probability: float | None = Field(description="That it is this person, all others and nobody taken into account.")
    warning: str = Field(description="What to know when it decides; empty where there is nothing.")


class SearchRate(BaseModel):
    """How often a stranger who is looked for among so many people is taken for one of them."""

    rate: float | None = Field(description="In percent, at most, over all conditions; null where it is not stated.")
    kind: Literal["measured", "extrapolated", "not stated"]
    low: float | None = Field(description="Lower end of the 95 % interval of what was measured.")
    high: float | None = Field(description="Upper end.")
    highest: float | None = Field(description="The rate in the condition where it is highest; null where unknown.")
    condition: str = Field(description="That condition; empty where unknown.")
    remark: str = Field(description="What it rests on, or why it is not stated.")


class Identification(BaseModel):
    """Whose voice a recording is, of all who are enrolled."""

    decision: Answer = Field(description="'accepted' where `person` is the answer, 'rejected' where it is nobody.")
    person: str | None
    candidates: list[Candidate] = Field(description="Best first.")
    nobody: float | None = Field(description="Probability that it is none of those enrolled.")
    side: Side
    threshold: float | None = Field(description="What the llr of the likeliest was compared with.")
    prior: float | None = Field(description="Prior that the threshold is for; null where it is for a false acceptance.")
    people: int = Field(description="How many were searched.")
    false_acceptance: SearchRate
    reason: str
    remark: str = Field(description="Why it is nobody although the likeliest would be accepted as a claim; else empty.")


class Enrolled(BaseModel):
    """What an enrolment came to."""

    person: str
    recordings: int = Field(description="Added by this request.")
    side: Side = Field(description="These together; its warnings name recordings that are unlike the others.")


class Person(BaseModel):
    """Somebody enrolled."""

    name: str
    recordings: int
    models: list[str] = Field(description="Fingerprints of the models that embedded the recordings.")
    created: str
    updated: str


class Enrolment(BaseModel):
    """One enrolled recording, without its embedding."""

    id: int
    model: str
    created: str
    by: str = Field(description="Name of the API key that enrolled it.")
    speech_s: float
    snr_db: float
    keeps_audio: bool


class PersonDetail(BaseModel):
    """Somebody enrolled, and with what."""

    name: str
    comparable: bool = Field(description="Whether the served model may be compared with these enrolments.")
    enrolments: list[Enrolment]


class Deleted(BaseModel):
    """What was deleted."""

    person: str
    recordings: int
    remark: str = Field(description="What is still to be done, by the operator; empty when all is gone.")


class Embedding(BaseModel):
    """The unit vector of a recording."""

    model: str
    embedding: list[float]


class Decision(BaseModel):
    """A line of the audit log."""

    person: str | None
    kind: Literal["verify", "identify"]
    decision: str
    score: float | None
    llr: float | None
    threshold: float | None
    model: str
    reason: str
    by: str
    at: str


class Threshold(BaseModel):
    """Where a share of different-speaker trials passes, in percent."""

    false_acceptance: float
    llr: float | None = Field(description="Null where the calibration's trials do not support this rate.")
    false_rejection: float | None
    remark: str


class Model(BaseModel):
    """A model and its calibration."""

    label: str = Field(description="What the page calls it.")
    fingerprint: str
    embedding_dim: int
    shortest_s: float = Field(description="Length of the shortest recording that can be embedded.")
    calibrated: bool
    scores: Literal["cosine", "as-norm"]
    measures: list[str] = Field(description="Qualities of a recording that the calibration takes into account.")
    threshold: float | None = Field(description="On the llr, where a request names neither prior nor rate.")
    thresholds: list[Threshold]


class Limits(BaseModel):
    """What a request may hold."""

    upload_bytes: int
    duration_s: float
    recordings: int
    timeout_s: float


class Service(BaseModel):
    """What is served."""

    version: str
    model: Model
    beside: Model | None = Field(description="The model that /v1/try compares with.")
    older: str | None = Field(description="Fingerprint of the model whose voiceprints are used, too.")
    prior: float
    false_acceptance: float | None
    noise: list[str] = Field(description="Kinds of noise that /v1/try adds.")
    keeps_audio: bool
    limits: Limits


class Judged(BaseModel):
    """What one model says of one recording."""

    decision: Answer
    score: float | None = Field(description=SCORE)
    llr: float | None = Field(description=LLR)
    threshold: float | None
    reason: str


class Point(BaseModel):
    """A recording at one signal-to-noise ratio, as both models judge it."""

    snr_db: float | None = Field(description="What was asked for; null for the recording as it came.")
    served: Judged
    beside: Judged | None
    side: Side


class Trial(BaseModel):
    """What noise does to a decision. Nothing of it is stored or goes into the audit log."""

    kind: str
    noise: str = Field(description="What was added.")
    clean: Point
    noisy: list[Point]
    beside_remark: str = Field(description="Why the other model has no answer; empty when it has.")
    audio: str | None = Field(description="The first noisy recording as a WAV file in base64, where it was asked for.")


class Health(BaseModel):
    """Whether the service can answer."""

    status: Literal["ok", "unavailable"]
    store: bool


class Problem(BaseModel):
    """A refusal."""

    code: str = Field(description="For programs; docs/service.md lists them.")
    message: str = Field(description="For people.")


class Error(BaseModel):
    """What is answered instead of a result."""

    error: Problem
