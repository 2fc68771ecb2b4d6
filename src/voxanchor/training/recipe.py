"""The recipe of a run: what it trains on, what it trains, and in which stages. Read from YAML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from voxanchor import config
from voxanchor.audio.synthetic_room import check_rt60
from voxanchor.errors import RecipeError
from voxanchor.models.precision import Precision
from voxanchor.objectives.anchored import Distance
from voxanchor.training.channels import Channels
from voxanchor.training.schedule import LearningRate, Margin

SCRATCH = "scratch"
"""As `start` of a stage: fresh weights of the recipe's encoder."""


@dataclass(frozen=True)
class Speech:
    """A folder of recordings, and how many of its speakers are kept out of training for the evaluation."""

    path: str
    layout: Literal["auto", "speakers", "voxceleb", "librispeech", "flat"] = "auto"
    name: str = ""
    hold_out_speakers: int = 0


@dataclass(frozen=True)
class Data:
    """What a run hears.

    Attributes:
        speech: folders of recordings.
        noise: folders in MUSAN layout; without any, the built-in kinds are all there is.
        rooms: folders of room impulse responses; without any, the synthetic rooms are all there is.
        built_in_share: share of noise, music and rooms from the built-in generators when there are recordings too.
        join_s: recordings shorter than this are joined with others of their speaker and session.
        voice_speeds: each training recording is also heard at these speeds, as another speaker (Yamamoto et al.,
            "Speaker augmentation and bandwidth extension for deep speaker embedding", Interspeech 2019).
        validation_speakers: training speakers kept aside to watch the training by.
        max_unusable_share: a folder with a larger share of unusable files ends the run.
    """

    speech: tuple[Speech, ...]
    noise: tuple[str, ...] = ()
    built_in_share: float = 0.5
    join_s: float = 3.0
    voice_speeds: tuple[float, ...] = ()
    validation_speakers: int = 8
    max_unusable_share: float = 0.2
    rooms: tuple[str, ...] = field(default=(), metadata=config.LATER)

    def __post_init__(self) -> None:
        if not self.speech:
            raise RecipeError("speech needs at least one folder")
        if not all(0.5 <= speed <= 2 and speed != 1 for speed in self.voice_speeds):
            raise RecipeError("voice_speeds lie between 0.5 and 2 and leave out 1, which every recording has anyway")
        if not (0 <= self.built_in_share <= 1 and 0 <= self.max_unusable_share <= 1):
            raise RecipeError("built_in_share and max_unusable_share are shares from 0 to 1")


@dataclass(frozen=True)
class Encoder:
    """An architecture to train from scratch, with its options."""

    architecture: str = "ecapa"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Noise:
    """The mixtures training draws from: kinds with weights, and a uniform range of SNR in dB."""

    kinds: dict[str, float] = field(default_factory=lambda: {"noise": 1.0, "music": 1.0, "babble": 1.0})
    snr_db: tuple[float, float] = (0.0, 20.0)


@dataclass(frozen=True)
class Rooms:
    """The rooms that training speech is heard in, before noise is added to it.

    Attributes:
        share: of the inputs of a batch; they are among those that do not stay clean.
        rt60_s: lowest and highest reverberation time of the synthetic rooms.
    """

    share: float = 0.0
    rt60_s: tuple[float, float] = (0.2, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise RecipeError("rooms.share is a share from 0 to 1")
        for end in self.rt60_s:
            check_rt60(end)
        if self.rt60_s[0] > self.rt60_s[1]:
            raise RecipeError("rooms.rt60_s is a range, lowest first")


@dataclass(frozen=True)
class Classification:
    """The speaker classification term (AAM-softmax); weight 0 leaves it out, and then no labels are needed.

    Attributes:
        sampled: speakers that a step compares with, the others of the training left out of it; 0 for all.
    """

    weight: float = 1.0
    scale: float = 30.0
    margin: Margin = field(default_factory=Margin)
    centres: Literal["random", "anchors"] = "random"
    sampled: int = field(default=0, metadata=config.LATER)

    def __post_init__(self) -> None:
        if self.sampled < 0:
            raise RecipeError("classification.sampled is a number of speakers, or 0 for all")


@dataclass(frozen=True)
class AnchorTerm:
    """The pull towards the fixed anchor; used by stages that name an anchor table."""

    weight: float = 10.0
    distance: Distance = "cosine"


@dataclass(frozen=True)
class Train:
    """A stage that optimises an encoder.

    Attributes:
        start: ``scratch``, an earlier stage, or a model reference.
        steps: optimiser steps.
        anchors: the anchors stage whose table holds the targets; empty for none.
        accumulate: equal parts a batch is worked through in, one after the other, to need less memory; batch
            normalisation sees one part at a time.
        clean_share: share of each batch that stays clean.
        noise: what is mixed into the others; the SNR is that against the speech as heard in its room.
        rooms: what a share of the inputs is heard in.
        channels: what a share of the inputs goes through after that.
        gain_db: level change of every input, uniform in dB; mixtures keep their SNR.
        precision: of matrix products; ``auto`` is bfloat16 where the device multiplies it natively.
        compile: let torch compile the network: steps get shorter, the first one takes minutes.
        blend: how far from the starting weights to the trained ones the model ends; 1 is all the way (Wortsman et al.,
            "Robust fine-tuning of zero-shot models", CVPR 2022).
    """

    start: str
    steps: int
    anchors: str = ""
    batch_size: int = 48
    accumulate: int = 1
    crop_s: float = 1.6
    clean_share: float = 0.15
    noise: Noise = Noise()
    gain_db: tuple[float, float] = (0.0, 0.0)
    learning_rate: LearningRate = field(default_factory=LearningRate)
    weight_decay: float = 1e-4
    clip_norm: float = 5.0
    precision: Precision = "auto"
    compile: bool = field(default=False, metadata=config.LATER)
    blend: float = 1.0
    classification: Classification = Classification()
    anchor: AnchorTerm = AnchorTerm()
    validate_every: int = 200
    checkpoint_every: int = 50
    rooms: Rooms = field(default=Rooms(), metadata=config.LATER)
    channels: Channels = field(default=Channels(), metadata=config.LATER)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.crop_s < 0.2:
            raise RecipeError("a training stage needs steps >= 1, batch_size >= 2 and crop_s >= 0.2")
        if self.accumulate < 1 or self.batch_size % self.accumulate or self.batch_size < 2 * self.accumulate:
            raise RecipeError("accumulate divides batch_size into equal parts of at least 2")
        if not self.gain_db[0] <= self.gain_db[1]:
            raise RecipeError("gain_db is a range, lowest first")
        if not 0 <= self.clean_share <= 1:
            raise RecipeError("clean_share is a share from 0 to 1")
        if self.rooms.share + self.clean_share > 1 + 1e-9:
            raise RecipeError("clean inputs stay outside rooms: clean_share and rooms.share make at most 1 together")
        if self.channels.share + self.clean_share > 1 + 1e-9:
            raise RecipeError("clean inputs stay off channels: clean_share and channels.share make at most 1")
        if not 0 < self.blend <= 1 or (self.blend < 1 and self.start == SCRATCH):
            raise RecipeError("blend lies above 0 and at most at 1; fresh weights are not blended with anything")
        if self.checkpoint_every < 1 or self.validate_every < 0:
            raise RecipeError("checkpoint_every must be at least 1, validate_every at least 0 (0: never)")
        if not self.anchors and not self.classification.weight:
            raise RecipeError("without anchors and without classification there is nothing to learn")
        if self.classification.centres == "anchors" and not self.anchors:
            raise RecipeError("classification.centres: anchors needs a stage named in anchors")


@dataclass(frozen=True)
class Anchors:
    """A stage that embeds the clean training speech once with a fixed model: a stage's name or a model reference."""

    of: str


@dataclass(frozen=True)
class Stage:
    """Exactly one of the two kinds of stage."""

    train: Train | None = None
    anchors: Anchors | None = None

    def __post_init__(self) -> None:
        if (self.train is None) == (self.anchors is None):
            raise RecipeError("a stage holds either 'train' or 'anchors'")


@dataclass(frozen=True)
class Evaluation:
    """How the systems of a recipe are compared, on the speakers that were held out.

    Attributes:
        noise: folders in MUSAN layout, other clips than those of the training; without any, the built-in kinds.
        rooms: folders of room impulse responses, for suites with measured rooms.
        note: a remark for the report.
    """

    systems: tuple[str, ...]
    noise: tuple[str, ...] = ()
    suite: str = "noise"
    protocol: Literal["clean-enrol", "both-noisy"] = "clean-enrol"
    segment_s: float = 3.0
    max_segments: int = 4
    noise_seeds: int = 1
    note: str = ""
    rooms: tuple[str, ...] = field(default=(), metadata=config.LATER)


@dataclass(frozen=True)
class Recipe:
    """A whole run. Stages run in the order they are written."""

    name: str
    data: Data
    stages: dict[str, Stage]
    seed: int = 0
    encoder: Encoder = Encoder()
    evaluation: Evaluation | None = None

    def __post_init__(self) -> None:
        earlier: dict[str, Stage] = {}
        for name, stage in self.stages.items():
            if not name or not all(character.isalnum() or character in "-_" for character in name):
                raise RecipeError(f"stage name '{name}' may hold letters, digits, '-' and '_' only")
            if stage.train is not None and stage.train.anchors:
                tables = [other for other in earlier if earlier[other].anchors]
                _check_earlier(f"stages.{name}.train.anchors", stage.train.anchors, tables)
            source = stage.train.start if stage.train else stage.anchors.of if stage.anchors else ""
            if source in self.stages:
                trained = [other for other in earlier if earlier[other].train]
                _check_earlier(f"stages.{name}", source, trained)
            earlier[name] = stage
        systems = [name for name, stage in self.stages.items() if stage.train]
        if not systems:
            raise RecipeError("stages: at least one stage must train")
        for system in self.evaluation.systems if self.evaluation else ():
            _check_earlier("evaluation.systems", system, systems)


def _check_earlier(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise RecipeError(f"{where}: '{name}' is not an earlier stage of that kind. {config.nearest(name, known)}")


def read_recipe(path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with ``key=value`` settings applied.

    Relative folders in the file are taken from the folder of the file, so a recipe works from wherever it is started;
    those in `settings` are taken from the working directory.

    Raises:
        RecipeError: anything in it that cannot be understood, with its place and the nearest known key.
    """
    values = config.read_yaml(path)
    _anchor_paths(values, Path(path).resolve().parent)
    return config.build(Recipe, config.override(values, settings), Path(path).name)


def _anchor_paths(values: Mapping[str, Any], folder: Path) -> None:
    data, evaluation = values.get("data"), values.get("evaluation")
    for owner in (data, evaluation):
        for key in ("noise", "rooms"):
            if isinstance(owner, dict) and isinstance(owner.get(key), list):
                owner[key] = [str(folder / item) if isinstance(item, str) else item for item in owner[key]]
    speech = data.get("speech") if isinstance(data, dict) else None
    for source in speech if isinstance(speech, list) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(folder / source["path"])
