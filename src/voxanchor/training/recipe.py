"""The recipe of a run: what it trains on, what it trains, in which stages, and how it is evaluated."""

import copy
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from voxanchor import config
from voxanchor.audio.downmix import channel_of
from voxanchor.corpus.layouts import with_part
from voxanchor.corpus.owners import Layout
from voxanchor.errors import RecipeError
from voxanchor.evaluation.settings import EvaluationSettings
from voxanchor.training.stage import Train, without_removed

ROOT = "root"
"""Key of a recipe: the folder that its other folders start from, itself beside the recipe."""


def take_root(values: dict[str, Any], folder: Path) -> Path | None:
    """Take the root out of a recipe's values and return it; None where the recipe has none.

    A run is identified by the folders that its paths lead to, so the key itself is not kept.

    Args:
        values: of the recipe, as its file has them.
        folder: of the recipe's file.

    Raises:
        RecipeError: a root that is not text.
    """
    root = values.pop(ROOT, None) or ""
    if not isinstance(root, str):
        raise RecipeError(f"recipe.{ROOT}: expected the path of a folder, found {root!r}")
    return Path(os.path.normpath(folder / root)) if root else None


def anchor_paths(values: Mapping[str, Any], root: Path, beside: Path) -> None:
    """Make the paths in a recipe's values absolute, in place.

    Args:
        values: of a recipe.
        root: where folders start from.
        beside: where suites in files start from.
    """
    data, evaluation = _mapping(values.get("data")), _mapping(values.get("evaluation"))
    further = [_mapping(entry) for entry in _mapping(evaluation.get("suites")).values()]
    for owner in (data, evaluation, *further):
        for key in ("noise", "rooms"):
            if isinstance(owner.get(key), list):
                owner[key] = [_anchored(item, root) for item in owner[key]]
    for key in ("speech", "trials", "enrolments"):
        if isinstance(evaluation.get(key), str) and evaluation[key]:
            evaluation[key] = str(root / evaluation[key])
    for entry in (evaluation, *further):
        name = entry.get("suite")
        # one in the working directory was found there before suites were looked for beside the recipe
        if isinstance(name, str) and Path(name).suffix in (".yaml", ".yml") and not Path(name).exists():
            entry["suite"] = str(beside / name)
    speech = data.get("speech")
    for source in speech if isinstance(speech, list) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(root / source["path"])


def spell_parts(values: Mapping[str, Any]) -> None:
    """Write noise folders given as ``{path: musan, part: odd}`` as the one word ``musan::odd``, in place.

    Raises:
        RecipeError: another key, or a part that there is not.
    """
    data, evaluation = _mapping(values.get("data")), _mapping(values.get("evaluation"))
    named = {f"evaluation.suites.{name}": entry for name, entry in _mapping(evaluation.get("suites")).items()}
    for where, owner in {"data": data, "evaluation": evaluation, **named}.items():
        if isinstance(owner, dict) and isinstance(owner.get("noise"), list):
            owner["noise"] = [_spelt(item, f"recipe.{where}.noise.{i}") for i, item in enumerate(owner["noise"])]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _anchored(item: Any, root: Path) -> Any:
    if isinstance(item, dict) and isinstance(item.get("path"), str):
        return {**item, "path": str(root / item["path"])}
    return str(root / item) if isinstance(item, str) else item


def _spelt(item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        return item
    path, part = item.get("path"), item.get("part", "all")
    if set(item) - {"path", "part"} or not isinstance(path, str) or not isinstance(part, str):
        raise RecipeError(f"{where}: a noise folder is its path, or {{path: DIR, part: even}}; found {item}")
    try:
        return with_part(path, part)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


# Recipes and stages that extend others: ``extends`` and the differences.

EXTENDS, EXTENDS_FORMERLY = "extends", "like"
"""Key of a recipe: another recipe, by file or name; and of a stage: an earlier stage. What stands beside it replaces
what is there, key by key; a key with nothing behind it is taken out. Its first name is read as well."""


def pop_extends(values: dict[str, Any], where: str) -> Any:
    """Take out what a recipe or a stage extends, and return it; None where it extends nothing.

    Raises:
        RecipeError: it stands there under both its names.
    """
    if EXTENDS in values and EXTENDS_FORMERLY in values:
        raise RecipeError(f"{where}: '{EXTENDS_FORMERLY}' is the former name of '{EXTENDS}'. Give one of them")
    return values.pop(EXTENDS, values.pop(EXTENDS_FORMERLY, None))


def merged(parent: Any, changes: Any) -> Any:
    """Return `parent` with `changes`: mappings key by key, anything else as a whole, and without what became None."""
    if not (isinstance(parent, Mapping) and isinstance(changes, Mapping)):
        return copy.deepcopy(changes)
    result = {key: copy.deepcopy(value) for key, value in parent.items() if changes.get(key, "") is not None}
    for key, value in changes.items():
        if value is not None:
            result[key] = merged(parent.get(key), value)
    return result


def spell_stages(values: dict[str, Any]) -> None:
    """Write out, in place, the stages that extend earlier ones.

    Raises:
        RecipeError: a stage that extends none of those before it.
    """
    stages = values.get("stages")
    if not isinstance(stages, dict):
        return
    for name, stage in stages.items():
        if not isinstance(stage, dict) or {EXTENDS, EXTENDS_FORMERLY}.isdisjoint(stage):
            continue
        changes = dict(stage)
        parent = pop_extends(changes, f"stages.{name}")
        earlier = list(stages)[: list(stages).index(name)]
        if parent not in earlier:
            hint = config.nearest(str(parent), earlier)
            raise RecipeError(f"stages.{name}.{EXTENDS}: '{parent}' is not an earlier stage. {hint}")
        stages[name] = merged(stages[parent], changes)


# The recipes that come with voxanchor, known by name: ``voxceleb1``, ``ablations/distance``.

FOLDER = Path(str(resources.files("voxanchor") / "recipes"))


def packaged_recipes() -> Mapping[str, Path]:
    """Return the recipes that come with voxanchor: their files by name, those at the top first."""
    files = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (len(path.parts), path.with_suffix("")))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in files}


def packaged_recipe(name: str) -> Path:
    """Return the file of a recipe that comes with voxanchor.

    Raises:
        RecipeError: there is none of that name; the message suggests the nearest.
    """
    known = packaged_recipes()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "'voxanchor recipes' lists those that come with voxanchor."
    raise RecipeError(f"there is no recipe '{name}'. {hint} The file of one of your own ends in .yaml.")


def recipe_file(reference: str | Path, beside: Path) -> tuple[Path, Path]:
    """Return the file of a recipe, and the folder that its relative paths start from.

    Those of a recipe that comes with voxanchor start from `beside`, as if it had been copied there.

    Args:
        reference: the path of a file, or the name of a recipe that comes with voxanchor; a file goes first.
        beside: folder that a relative path starts from.

    Raises:
        RecipeError: there is neither.
    """
    path = beside / reference
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path, path.resolve().parent
    return packaged_recipe(str(reference)), beside.resolve()


def about(path: Path) -> str:
    """Return what a recipe is for: the first sentence of the comment at its top."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).partition(". ")[0].rstrip(".").replace("`", "'")


# What a comparison of systems is: a part of a recipe.


@dataclass(frozen=True)
class Tuning:
    """The grid that all systems of a comparison are tuned with, on the validation speakers, in equally many trials.

    Attributes:
        learning_rates: peaks that every stage in the comparison tries; empty for none but its own.
        weights: of the term that a stage adds to classification: the pull to its anchors, or consistency. Each is tried
            with each learning rate; a stage without such a term tries as many more learning rates in its place.
    """

    learning_rates: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class ComparisonConfig:
    """What `voxanchor compare` makes of a recipe: its systems, trained with several seeds under equal conditions.

    Attributes:
        base: the stage whose model the others are measured against.
        ours: the stage whose model is held against each of the others.
        seeds: how many training seeds, counted from the recipe's seed.
        tuning: before the first seed.
    """

    base: str = "base"
    ours: str = "anchored"
    seeds: int = 3
    tuning: Tuning = Tuning()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise RecipeError("comparison.seeds must be at least 1")


# What a recipe says about its evaluation: on whom, in which noise, under which suites.


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

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of the evaluation that it replaces, by name."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Evaluation(EvaluationSettings):
    """How the systems of a recipe are compared: on the speakers that were held out, or on a test corpus.

    Attributes:
        systems: stages whose models are compared.
        speech: folder of a test corpus, in the place of the speakers that were held out.
        speakers: who is evaluated where `speech` names no corpus: the speakers held out, or, to choose settings by, the
            validation speakers.
        suites: further suites by their names; each leaves its tables in ``suite-<name>/``.
    """

    systems: tuple[str, ...]
    speech: str = field(default="", metadata=config.LATER)
    speakers: Literal["held_out", "validation"] = field(default="held_out", metadata=config.LATER)
    suites: dict[str, FurtherSuite] = field(default_factory=dict, metadata=config.LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials and not self.speech:
            raise RecipeError("a trial list needs the corpus that it names recordings of: set 'speech'")
        for name in self.suites:
            if not name or not all(character.isalnum() or character in "-_" for character in name):
                raise RecipeError(f"name '{name}' of a further suite may hold letters, digits, '-' and '_' only")


# The recipe of a run: what it trains on, what it trains, and in which stages. Read from YAML.


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
        pretrained: a model reference: the stage is that model as it is.
    """

    train: Train | None = None
    anchors: Anchors | None = None
    pretrained: str = field(default="", metadata={**config.LATER, **config.formerly("take")})

    def __post_init__(self) -> None:
        if sum((self.train is not None, self.anchors is not None, bool(self.pretrained))) != 1:
            raise RecipeError("a stage holds one of 'train', 'anchors' and 'pretrained'")

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
    comparison: ComparisonConfig | None = field(default=None, metadata={**config.LATER, **config.formerly("contest")})

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
        if self.comparison is not None:
            evaluated = list(self.evaluation.systems) if self.evaluation else []
            for key in ("base", "ours"):
                _check_earlier(f"comparison.{key}", getattr(self.comparison, key), evaluated)


def _check_earlier(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise RecipeError(f"{where}: '{name}' is not an earlier stage of that kind. {config.nearest(name, known)}")


def read_recipe(path: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, or of a name that comes with voxanchor, with ``key=value`` settings applied.

    Relative folders in the file are taken from the folder of the file, or from its ``root``, so a recipe works from
    wherever it is started; those in `settings`, and in a recipe that comes with voxanchor, are taken from the working
    directory. A recipe may extend another, and a stage an earlier one (`EXTENDS`).

    Raises:
        RecipeError: anything in it that cannot be understood, with its place and the nearest known key.
    """
    roots = [setting.removeprefix(f"{ROOT}=") for setting in settings if setting.startswith(f"{ROOT}=")]
    values, _ = _read(path, Path(), Path(roots[-1]).absolute() if roots else None, ())
    spell_stages(values)
    left = [setting for setting in settings if not setting.startswith(f"{ROOT}=")]
    return fill_recipe(values, left, Path(path).name)


def fill_recipe(values: Mapping[str, Any], settings: Sequence[str], where: str = "recipe") -> Recipe:
    """Return the recipe of plain values, with ``key=value`` settings applied.

    Args:
        values: keys may have their former names.
        settings: likewise.
        where: what the values are from, for messages.

    Raises:
        RecipeError: anything that cannot be understood, or an option that was removed.
    """
    result = config.override(values, settings, Recipe)
    spell_parts(result)
    for name, stage in _mapping(result.get("stages")).items():
        if isinstance(stage, dict) and isinstance(stage.get("train"), dict):
            stage["train"] = without_removed(stage["train"], f"{where}.stages.{name}.train")
    return config.build(Recipe, result, where)


def _read(
    reference: str | Path, beside: Path, root: Path | None, children: tuple[Path, ...]
) -> tuple[dict[str, Any], Path | None]:
    """Return the values of a recipe's file, by the present names of keys, with what it extends, and its root.

    A recipe without a root has that of the recipe it extends, and one with a root gives it to that recipe: `root` is
    replaced as any other key. `root` is what the command line or such a child says.
    """
    path, folder = recipe_file(reference, beside)
    # by their present names, so that parent and child are merged whichever each of them has
    values: dict[str, Any] = config.current(Recipe, config.read_yaml(path), path.name)
    parent = pop_extends(values, path.name)
    own = take_root(values, folder)
    root = root or own
    inherited: dict[str, Any] = {}
    if parent is not None:
        lineage = (*children, path.resolve())
        if not isinstance(parent, str) or recipe_file(parent, folder)[0].resolve() in lineage:
            raise RecipeError(f"{path}: {EXTENDS}: expected another recipe, by its file or its name, found {parent!r}")
        inherited, root = _read(parent, folder, root, lineage)
    # only after the recipe it extends, whose root may be the one that counts
    anchor_paths(values, root or folder, folder)
    return merged(inherited, values), root
