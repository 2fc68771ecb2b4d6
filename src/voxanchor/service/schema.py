"""The answers of the service.

Results of the verifier and records of the store are answered as they are: pydantic reads their dataclasses. The models
here are the answers that only the service has.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voxanchor.config import descriptions
from voxanchor.enrolments.records import Decision, Enrolment, Person
from voxanchor.scoring.calibration import SearchRate
from voxanchor.verification.result import Answer, Candidate, Enrolled, Identification, Side, Verification

DATACLASSES = (Side, Verification, Candidate, SearchRate, Identification, Enrolled, Person, Enrolment, Decision)
"""What is answered as it is."""


def describe(document: dict[str, Any]) -> None:
    """Put into an OpenAPI document what the docstrings of `DATACLASSES` say of each field."""
    for answer in DATACLASSES:
        described, texts = document["components"]["schemas"][answer.__name__], descriptions(answer)
        described["description"] = (answer.__doc__ or "").partition("\n")[0]
        described["required"] = list(described["properties"])  # those with a default are always answered, too
        for name, entry in described["properties"].items():
            entry.pop("default", None)
            entry["description"] = texts[name][0].upper() + texts[name][1:].replace("None", "null")


class PersonDetail(BaseModel):
    """An enrolled person with all enrolments."""

    name: str
    comparable: bool = Field(description="Whether the served model may be compared with these enrolments.")
    enrolments: list[Enrolment]


class Deleted(BaseModel):
    """What was deleted."""

    person: str
    recordings: int
    remark: str = Field(description="What is still to be done, by the operator; empty when all is gone.")


class Embedding(BaseModel):
    """The embedding of a recording."""

    model: str = Field(description="Fingerprint of the model.")
    embedding: list[float] = Field(description="A unit vector.")


class Threshold(BaseModel):
    """The threshold for a rate of false acceptance."""

    model_config = ConfigDict(from_attributes=True)

    false_acceptance: float = Field(description="Share of different-speaker trials that pass, in percent.")
    llr: float | None = Field(description="Null where the calibration's trials do not support this rate.")
    false_rejection: float | None = Field(description="Share of same-speaker trials that do not pass, in percent.")
    remark: str


class Model(BaseModel):
    """A model and its calibration."""

    label: str = Field(description="What the page calls it.")
    fingerprint: str
    embedding_dim: int
    shortest_s: float = Field(description="Length of the shortest recording that can be embedded.")
    calibrated: bool
    scores: Literal["cosine", "as-norm"]
    measures: list[str] = Field(description="Quality measures that the calibration takes into account.")
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


class Scored(BaseModel):
    """The result of one trial with one model."""

    decision: Answer
    score: float | None = Field(description="As in Verification.")
    llr: float | None = Field(description="As in Verification.")
    threshold: float | None
    reason: str


class Point(BaseModel):
    """The test recording at one signal-to-noise ratio, scored by both models."""

    snr_db: float | None = Field(description="What was asked for; null for the recording as it came.")
    served: Scored
    beside: Scored | None
    side: Side


class NoiseTrial(BaseModel):
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
