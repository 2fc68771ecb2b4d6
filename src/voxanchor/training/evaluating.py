"""What a recipe says about its evaluation: on whom, in which noise, under which suites."""

from dataclasses import dataclass, field
from typing import Literal

from voxanchor import config
from voxanchor.audio.level import SnrLevels
from voxanchor.errors import RecipeError
from voxanchor.models.precision import Precision

ProtocolName = Literal["clean-enrol", "both-noisy"]


@dataclass(frozen=True)
class FurtherSuite:
    """Another suite that the same systems are measured under, on the same recordings and trials.

    Attributes:
        suite: a named suite, or a YAML file beside the recipe.
        noise: folders for it; none: those of the evaluation.
        rooms: folders of room impulse responses; none: those of the evaluation.
        protocol: as that of the evaluation where it is empty.
        noise_seeds: as many as those of the evaluation where it is 0.
    """

    suite: str = "noise"
    noise: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    protocol: Literal["", "clean-enrol", "both-noisy"] = ""
    noise_seeds: int = field(default=0, metadata=config.LATER)

    def __post_init__(self) -> None:
        if self.noise_seeds < 0:
            raise RecipeError("noise_seeds of a further suite is a number of seeds, or 0 for those of the evaluation")


@dataclass(frozen=True)
class Evaluation:
    """How the systems of a recipe are compared: on the speakers that were held out, or on a test corpus.

    Attributes:
        noise: folders in MUSAN layout, other clips than those of the training; without any, the built-in kinds.
        rooms: folders of room impulse responses, for suites with measured rooms.
        note: what a reader of the report has to know before its figures, a paragraph a line; printed, too.
        speech: folder of a test corpus, in the place of the speakers that were held out.
        trials: a trial list between recordings of `speech`; without one all pairs of segments are compared.
        enrolments: a list of models and their recordings (CN-Celeb's ``enroll.map``, Kaldi's ``spk2utt``), where the
            trials compare such models with recordings.
        speakers: whom to listen to where `speech` names no corpus: the speakers held out, or, to choose settings by,
            those that are kept aside to watch the training by.
        precision: of the models' matrix products; ``auto`` is bfloat16 where the device multiplies it natively,
            which is quicker and moves the error rate of a single condition by some tenths of a percent.
        snr: what signal-to-noise ratios lie between: ``active`` levels, or those of the ``whole`` signals; a suite of
            ``whole`` ones stays so.
        suites: further suites by their names; each leaves its tables in ``suite-<name>/``.
    """

    systems: tuple[str, ...]
    noise: tuple[str, ...] = ()
    suite: str = "noise"
    protocol: ProtocolName = "clean-enrol"
    segment_s: float = 3.0
    max_segments: int = 4
    noise_seeds: int = 1
    note: str = ""
    rooms: tuple[str, ...] = field(default=(), metadata=config.LATER)
    speech: str = field(default="", metadata=config.LATER)
    trials: str = field(default="", metadata=config.LATER)
    enrolments: str = field(default="", metadata=config.LATER)
    speakers: Literal["held_out", "validation"] = field(default="held_out", metadata=config.LATER)
    precision: Precision = field(default="float32", metadata=config.LATER)
    snr: SnrLevels = field(default="active", metadata=config.LATER)
    suites: dict[str, FurtherSuite] = field(default_factory=dict, metadata=config.LATER)

    def __post_init__(self) -> None:
        if self.trials and not self.speech:
            raise RecipeError("a trial list needs the corpus that it names recordings of: set 'speech'")
        if self.enrolments and not self.trials:
            raise RecipeError(
                "a list of enrolments serves a trial list between its models and recordings: set 'trials'"
            )
        if self.trials and self.segment_s:
            raise RecipeError("a trial list names whole recordings: set segment_s: 0")
        for name in self.suites:
            if not name or not all(character.isalnum() or character in "-_" for character in name):
                raise RecipeError(f"name '{name}' of a further suite may hold letters, digits, '-' and '_' only")
