"""The settings of an evaluation, defined once: recipes, commands and workflows derive theirs from these.

A recipe reads the fields as its keys (`voxanchor.training.recipe.Evaluation`), and a command offers them as flags, with
the texts below as their help (`voxanchor.cli.arguments.taking`). Nothing here imports torch, so that ``--help`` answers
at once.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from voxanchor.config import LATER
from voxanchor.errors import RecipeError
from voxanchor.runtime import Precision
from voxanchor.scoring.metrics import EerMethod

Protocol = Literal["clean-enrol", "both-noisy"]


_FOLDER = {"metavar": "DIR"}
_FILE = {"metavar": "FILE"}
"""Metadata of fields for commands: ``metavar`` stands for the value in the help; ``flag`` is the name of the flag where
the field has another, empty where there is no flag; ``unset`` ends the help of a flag that has no default."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """Which trials are scored, in which conditions.

    Attributes:
        noise: folder with noise/, music/ and speech/ (MUSAN layout). DIR::even and DIR::odd are its halves by the
            number in a file's name, DIR::odd being the field's test part of MUSAN. Without it the built-in kinds are
            used. Without speech/ the babble is made of the recordings themselves, played faster or slower so that
            nobody is heard in the background of their own trials.
        rooms: folder of room impulse responses, for suites with measured rooms.
        suite: a named suite of conditions (noise, unseen-noise, unseen-recordings, reverb, telephone, clipping,
            combined, level, compatibility), or a YAML file. compatibility is the quick one: noise, music and babble at
            0 and 10 dB.
        trials: a trial list, "1 a.wav b.wav" a line, the enrolment first; without it all pairs are compared.
        segment_s: cut recordings into segments of so many seconds; 0 for whole recordings, as a trial list needs.
        max_segments: at most so many segments from one recording.
        noise_seeds: how many draws of the noise to average over; five or more for a figure to publish.
        precision: of the models' matrix products; auto is bfloat16 where the device has it, which is quicker and moves
            the error rate of a single condition by some tenths of a percent.

    Raises:
        RecipeError: settings that do not go together.
    """

    noise: tuple[str, ...] = field(default=(), metadata=_FOLDER)
    rooms: tuple[str, ...] = field(default=(), metadata={**_FOLDER, **LATER})
    suite: str = field(default="noise", metadata={"metavar": "SUITE"})
    trials: str = field(default="", metadata={**_FILE, **LATER})
    segment_s: float = field(default=3.0, metadata={"metavar": "SECONDS", "unset": "Default 3, with --trials 0."})
    max_segments: int = 4
    noise_seeds: int = 1
    precision: Precision = field(default="float32", metadata=LATER)

    def __post_init__(self) -> None:
        if self.trials and self.segment_s:
            raise RecipeError(
                "a trial list names whole recordings: set segment_s: 0, or leave segment_s out of a command"
            )
        if self.noise_seeds < 1:
            raise RecipeError("noise_seeds must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Examination(TrialSettings):
    """How two models are examined, to decide whether enrolments of the old one may stay.

    Attributes:
        heard_noise: noise folder that the new model was trained with. The suite unseen-noise leaves its classes of
            noise out.
        replicates: how often the speakers are resampled, for intervals.
    """

    heard_noise: tuple[str, ...] = field(default=(), metadata={**_FOLDER, **LATER})
    replicates: int = field(default=200, metadata={"flag": ""})


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(TrialSettings):
    """What every evaluation of models is set by, that of a recipe and that of a command.

    Attributes:
        protocol: clean-enrol (noise in the test only) or both-noisy.
        enrolments: a list of models, "model a.wav b.wav" a line (CN-Celeb's enroll.map, Kaldi's spk2utt): the trials
            then compare a model, the mean of the embeddings of its recordings, with a recording.
        snr: what signal-to-noise ratios lie between: active levels (pauses left out), or those of the whole signals, as
            in published tables whose mixers count pauses. A suite file may say "snr: whole" itself.
        note: what a reader of the report has to know before its figures, a paragraph a line; printed, too.
    """

    protocol: Protocol = "clean-enrol"
    enrolments: str = field(default="", metadata={**_FILE, **LATER})
    # voxanchor.audio.snr.SnrLevels, whose module loads torch
    snr: Literal["active", "whole"] = field(default="active", metadata=LATER)
    note: str = field(default="", metadata={"flag": ""})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.enrolments and not self.trials:
            raise RecipeError("a list of enrolments serves a trial list between its models and recordings: give trials")

    @property
    def shared(self) -> dict[str, Any]:
        """The settings that all evaluations have, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(EvaluationSettings)}


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings(EvaluationSettings):
    """What the command that evaluates models is set by.

    Attributes:
        heard_noise: noise folder that a model was trained with. The suite unseen-noise leaves its classes of noise out.
        eer_method: how the points of the ROC are joined, for error rates and intervals.
        enrol_model: enrol with this (older) model instead of the one under test.
        cohort: folder of recordings of other speakers: scores are normalised by how either side scores with those of
            them that are most like it (AS-norm).
    """

    heard_noise: tuple[str, ...] = field(default=(), metadata={**_FOLDER, **LATER})
    eer_method: EerMethod = field(default="linear", metadata={"flag": "eer"})
    enrol_model: str = field(default="", metadata={"metavar": "MODEL"})
    cohort: str = field(default="", metadata=_FOLDER)
