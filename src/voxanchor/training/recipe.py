"""The recipe of a run: what it trains on, what it trains, and in which stages. Read from YAML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxanchor import config
from voxanchor.audio.downmix import channel_of
from voxanchor.corpus.owners import Layout
from voxanchor.errors import RecipeError
from voxanchor.training.contest import Contest
from voxanchor.training.evaluating import Evaluation as Evaluation
from voxanchor.training.packaged import recipe_file
from voxanchor.training.recipe_likes import LIKE, merged, spell_stages
from voxanchor.training.recipe_paths import anchor_paths, spell_parts, take_root
from voxanchor.training.stage import Train


@dataclass(frozen=True)
class Speech:
    """A folder of recordings, and how many of its speakers are kept out of training for the evaluation.

    Attributes:
        channel: which channel is heard: ``mix``, ``loudest``, ``left``, ``right``, or the number of one, from 1 on.
    """

    path: str
    layout: Layout = "auto"
    name: str = ""
    hold_out_speakers: int = 0
    channel: str | int = "mix"

    def __post_init__(self) -> None:
        channel_of(self.channel)


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
class Anchors:
    """A stage that embeds the clean training speech once with a fixed model: a stage's name or a model reference."""

    of: str


@dataclass(frozen=True)
class Stage:
    """Exactly one of the kinds of stage.

    Attributes:
        train: optimises an encoder.
        anchors: embeds the clean training speech.
        take: a model reference: the stage is that model as it is.
    """

    train: Train | None = None
    anchors: Anchors | None = None
    take: str = field(default="", metadata=config.LATER)

    def __post_init__(self) -> None:
        if sum((self.train is not None, self.anchors is not None, bool(self.take))) != 1:
            raise RecipeError("a stage holds one of 'train', 'anchors' and 'take'")

    @property
    def gives_model(self) -> bool:
        """Whether the stage ends with a model: everything but a table of anchors."""
        return self.anchors is None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what the stage is made from: stages of the recipe, or model references."""
        if self.train is not None:
            return tuple(name for name in (self.train.start, self.train.anchors) if name)
        return (self.anchors.of,) if self.anchors is not None else ()


@dataclass(frozen=True)
class Recipe:
    """A whole run. Stages run in the order they are written."""

    name: str
    data: Data
    stages: dict[str, Stage]
    seed: int = 0
    encoder: Encoder = Encoder()
    evaluation: Evaluation | None = None
    contest: Contest | None = field(default=None, metadata=config.LATER)

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
                trained = [other for other in earlier if earlier[other].gives_model]
                _check_earlier(f"stages.{name}", source, trained)
            earlier[name] = stage
        if not any(stage.train for stage in self.stages.values()):
            raise RecipeError("stages: at least one stage must train")
        systems = [name for name, stage in self.stages.items() if stage.gives_model]
        for system in self.evaluation.systems if self.evaluation else ():
            _check_earlier("evaluation.systems", system, systems)
        if self.contest is not None:
            evaluated = list(self.evaluation.systems) if self.evaluation else []
            for key in ("base", "ours"):
                _check_earlier(f"contest.{key}", getattr(self.contest, key), evaluated)


def _check_earlier(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise RecipeError(f"{where}: '{name}' is not an earlier stage of that kind. {config.nearest(name, known)}")


def read_recipe(path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, or of a name that comes with voxanchor, with ``key=value`` settings applied.

    Relative folders in the file are taken from the folder of the file, or from its ``root``, so a recipe works from
    wherever it is started; those in `settings`, and in a recipe that comes with voxanchor, are taken from the working
    directory. A recipe may be ``like`` another, and a stage like an earlier one: see `voxanchor.training.recipe_likes`.

    Raises:
        RecipeError: anything in it that cannot be understood, with its place and the nearest known key.
    """
    values, settings = _read(path, Path(), settings, ())
    spell_stages(values)
    values = config.override(values, settings)
    spell_parts(values)
    return config.build(Recipe, values, Path(path).name)


def _read(
    reference: str | Path, beside: Path, settings: Sequence[str], children: tuple[Path, ...]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a recipe's file, what it is like among them, and the settings that are left."""
    path, folder = recipe_file(reference, beside)
    values = config.read_yaml(path)
    model = values.pop(LIKE, None)
    root, left = take_root(values, folder, settings)
    anchor_paths(values, root, folder)
    if model is None:
        return values, left
    lineage = (*children, path.resolve())
    if not isinstance(model, str) or recipe_file(model, folder)[0].resolve() in lineage:
        raise RecipeError(f"{path}: like: expected another recipe, by its file or its name, found {model!r}")
    return merged(_read(model, folder, settings, lineage)[0], values), left
