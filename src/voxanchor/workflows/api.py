"""The jobs of the command line as functions: what ``import voxanchor`` offers a Python program.

Each takes paths as text or `Path`, one folder or several, and returns where its results lie with the figures in them.
What is written, and how a job resumes, is as with the command of the same name.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from voxanchor.audio.downmix import channel_of
from voxanchor.audio.snr import SnrLevels
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.evaluation.results import ResultRow
from voxanchor.evaluation.settings import Protocol
from voxanchor.runtime import Precision
from voxanchor.training.recipe import Recipe, read_recipe
from voxanchor.workflows import compare as comparing
from voxanchor.workflows import robustify as robustifying
from voxanchor.workflows import train as trainings
from voxanchor.workflows.evaluate import Comparison, evaluate_folder, system_names
from voxanchor.workflows.robustify import Robustified

AnyPath: TypeAlias = str | PathLike[str]
Folders: TypeAlias = AnyPath | Iterable[AnyPath]
Settings: TypeAlias = Mapping[str, Any] | Iterable[str]
"""Changes to a recipe: ``{"stages.anchored.train.steps": 800}``, or ``["stages.anchored.train.steps=800"]``."""


@dataclass(frozen=True)
class Evaluation:
    """Models measured on the same audio.

    Attributes:
        folder: with ``results.csv``, ``summary.json`` and ``report.html``.
        rows: of ``results.csv``: a system in a condition, with a noise seed, each.
    """

    folder: Path
    rows: tuple[ResultRow, ...] = field(repr=False)

    @property
    def report(self) -> Path:
        """The report, for a browser."""
        return self.folder / "report.html"

    @property
    def eer(self) -> dict[str, dict[str, float]]:
        """Equal error rate in percent by system and condition, the mean over noise seeds."""
        found: dict[str, dict[str, list[float]]] = {}
        for row in self.rows:
            found.setdefault(row.system, {}).setdefault(row.condition, []).append(row.eer)
        return {
            system: {condition: sum(values) / len(values) for condition, values in conditions.items()}
            for system, conditions in found.items()
        }

    def __repr__(self) -> str:
        lines = [f"Evaluation({str(self.folder)!r}), EER in %:"]
        for system, conditions in self.eer.items():
            noisy = [rate for condition, rate in conditions.items() if condition != "clean"]
            means = [f"clean {conditions['clean']:.2f}"] if "clean" in conditions else []
            means += [f"mean of {len(noisy)} others {sum(noisy) / len(noisy):.2f}"] if noisy else []
            lines.append(f"  {system}: {', '.join(means)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Training:
    """A recipe that was run.

    Attributes:
        folder: with a model directory for each training stage.
        models: model directory, or reference, of every stage that ends with a model; `voxanchor.load` opens each.
        summary: ``summary.json`` of the recipe's evaluation; empty where it has none.
    """

    folder: Path
    models: Mapping[str, str]
    summary: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class SystemComparison:
    """Systems that were trained with several seeds and compared.

    Attributes:
        folder: with ``results.csv``, ``summary.json``, ``report.html`` and the models of every seed.
        summary: ``summary.json``: figures of every system, and differences with p-values.
    """

    folder: Path
    summary: Mapping[str, Any] = field(repr=False)

    @property
    def report(self) -> Path:
        """The report, for a browser."""
        return self.folder / "report.html"


def robustify(
    model: AnyPath,
    speech: Folders,
    noise: Folders = (),
    *,
    out: AnyPath,
    rooms: Folders = (),
    channels: str | Iterable[str] = (),
    channel: str | int = "mix",
    unlabelled: bool = False,
    strength: float | None = None,
    settings: Settings = (),
    workers: int | None = None,
    force: bool = False,
) -> Robustified:
    """Make a model robust to noise; the new model lies in `out`, and the same call resumes there.

    Example::

        made = voxanchor.robustify("ge2e", speech="my-speech", noise="my-noise", out="runs/robust")
        made.before["noisy_eer"], made.after["noisy_eer"]

    Args:
        model: reference of the model to start from, such as a model directory, or ``ge2e``.
        speech: folders of recordings, a sub-folder per speaker.
        noise: folders in MUSAN layout; without any, the built-in kinds and babble from the speech.
        out: the model directory to make.
        rooms: folders of room impulse responses; with any, a share of the inputs is heard in rooms.
        channels: names of channels, such as ``gsm``; with any, a share of the inputs goes through one of them.
        channel: which channel of the speech is heard.
        unlabelled: use no speaker labels.
        strength: interpolation between the weights of the base (0) and the trained ones (1).
        settings: changes to the packaged recipe ``robustify``.
        workers: threads that prepare batches.
        force: write the model even if the guard found it worse than its base.

    Raises:
        VoxanchorError: what the command would report; `ForgettingError` where the model came out worse than its base.
    """
    return robustifying.robustify(
        fspath(model),
        _folders(speech),
        _folders(noise),
        Path(out),
        rooms=_folders(rooms),
        channels=(channels,) if isinstance(channels, str) else tuple(channels),
        channel=str(channel),
        unlabelled=unlabelled,
        strength=strength,
        settings=_settings(settings),
        workers=workers,
        force=force,
    )


def evaluate(
    models: Folders | Mapping[str, AnyPath],
    speech: AnyPath,
    noise: Folders = (),
    *,
    out: AnyPath,
    suite: AnyPath = "noise",
    protocol: Protocol = "clean-enrol",
    trials: AnyPath = "",
    segment_s: float | None = None,
    max_segments: int = 4,
    noise_seeds: int = 1,
    rooms: Folders = (),
    precision: Precision = "float32",
    snr: SnrLevels = "active",
    layout: str = "auto",
    channel: str | int = "mix",
) -> Evaluation:
    """Measure models in noise on the same audio; tables and report lie in `out`.

    Example::

        found = voxanchor.evaluate(["ge2e", "runs/robust"], speech="test-speech", noise="test-noise", out="runs/eval")
        found.eer["robust"]["babble_0db"]

    Args:
        models: references, one or several; or by the names that they get in the tables.
        speech: folder of recordings of speakers whom no model was trained on.
        noise: folders in MUSAN layout; without any, the built-in kinds.
        out: output folder; the same call is answered from there without computing anew.
        suite: conditions, by name or as a YAML file.
        protocol: whether enrolments are clean, or both sides are in the condition.
        trials: a trial list; without one all pairs of segments are compared.
        segment_s: length of the segments that recordings are cut into, 3 s unless there is a trial list; 0 for whole
            recordings.
        max_segments: at most so many of one recording.
        noise_seeds: how many draws of the noise; five or more for a figure to publish.
        rooms: folders of room impulse responses, for suites with measured rooms.
        precision: of the models' matrix products.
        snr: what signal-to-noise ratios lie between: active levels, or those of whole signals.
        layout: of the folder of speech.
        channel: which channel of the speech is heard.

    Raises:
        VoxanchorError: what the command would report.
    """
    given = models if isinstance(models, Mapping) else system_names(_folders(models))
    reference = fspath(suite)
    named_suite(reference)
    comparison = Comparison(
        models={name: fspath(model) for name, model in given.items()},
        noise=_folders(noise),
        trials=fspath(trials),
        suite=reference,
        protocol=protocol,
        segment_s=(0.0 if trials else 3.0) if segment_s is None else segment_s,
        max_segments=max_segments,
        noise_seeds=noise_seeds,
        rooms=_folders(rooms),
        precision=precision,
        snr=snr,
    )
    outcome = evaluate_folder(comparison, fspath(speech), Path(out), layout=layout, channel=channel_of(channel))
    return Evaluation(Path(out), tuple(outcome.rows))


def train(recipe: AnyPath, out: AnyPath, *, settings: Settings = (), workers: int | None = None) -> Training:
    """Run a recipe: its stages, and its evaluation; the same call resumes in `out`.

    Args:
        recipe: a YAML file, or the name of a recipe that comes with voxanchor.
        out: output folder.
        settings: changes to the recipe.
        workers: threads that prepare batches.

    Raises:
        VoxanchorError: what the command would report.
    """
    chosen, folder = _recipe(recipe, settings), Path(out)
    trainings.train(chosen, folder, workers)
    models = {
        name: stage.pretrained or str(folder / name) for name, stage in chosen.stages.items() if stage.gives_model
    }
    return Training(folder, models, _summary(folder) if chosen.evaluation is not None else {})


def compare(
    recipe: AnyPath,
    out: AnyPath,
    *,
    systems: Iterable[str] = (),
    seeds: int | None = None,
    pretrained: Mapping[str, AnyPath] | None = None,
    settings: Settings = (),
    workers: int | None = None,
) -> SystemComparison:
    """Train the systems of a recipe with several seeds and compare them; the same call resumes in `out`.

    Args:
        recipe: a YAML file with ``comparison`` and ``evaluation``, or the name of one that comes with voxanchor.
        out: output folder.
        systems: those to compare; all of the recipe's unless given.
        seeds: how many training seeds; by default the recipe's.
        pretrained: models that exist, by the training stage whose place they take.
        settings: changes to the recipe.
        workers: threads that prepare batches.

    Raises:
        VoxanchorError: what the command would report.
    """
    folder = Path(out)
    taken = [f"{stage}={fspath(model)}" for stage, model in (pretrained or {}).items()]
    chosen = _recipe(recipe, settings)
    comparing.compare(chosen, folder, systems=tuple(systems), seeds=seeds, taken=taken, workers=workers)
    return SystemComparison(folder, _summary(folder))


def _folders(given: Folders) -> tuple[str, ...]:
    return (fspath(given),) if isinstance(given, str | PathLike) else tuple(fspath(folder) for folder in given)


def _settings(given: Settings) -> tuple[str, ...]:
    if isinstance(given, Mapping):
        # JSON is YAML, whatever the value
        return tuple(f"{key}={json.dumps(value)}" for key, value in given.items())
    return tuple(given)


def _recipe(reference: AnyPath, settings: Settings) -> Recipe:
    return read_recipe(fspath(reference), _settings(settings))


def _summary(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary
