"""What a recipe will do before it does it: data, stages, hours of audio, time and memory."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from voxanchor.audio import io
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import noise_classes, with_classes
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.config import fingerprint, to_plain
from voxanchor.corpus.checks import Checked, check_files, checked
from voxanchor.corpus.download import size, where_to_get
from voxanchor.corpus.layouts import MIN_ACTIVE_S, MIN_DURATION_S, files_in, is_list, noise_manifest, scan, split_part
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.noise_folders import room_manifest, unlisted
from voxanchor.corpus.owners import OWNER, detect
from voxanchor.corpus.pack import is_pack
from voxanchor.corpus.trial_lists import read_trials
from voxanchor.errors import CorpusError, VoxanchorError
from voxanchor.evaluation.embed import forward
from voxanchor.files import printable, temporary_folder
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.rng import torch_seed
from voxanchor.runtime import Precision, best_device, counted, load_average, resolve
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch
from voxanchor.training.loop import train
from voxanchor.training.recipe import Evaluation, FurtherSuite, Recipe, Stage
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.training.task import SpeakerTask
from voxanchor.types import SAMPLE_RATE

SAMPLE = 100
"""Files of a folder that are opened; with more, hours and unusable shares are estimates."""


@dataclass(frozen=True)
class Looked:
    """What was found at one place that a recipe names.

    Attributes:
        use: what the recipe wants it for.
        problem: why it cannot serve; empty when it can.
        remedy: where to get it.
        files: recordings, by their names; of a trial list its trials.
        hours: of all of them, from the mean of those that were opened.
        opened: files that were opened.
        unusable_share: of those, 0 to 1.
        packed: it is a pack or a list, and everything said is exact.
    """

    use: str
    path: str
    problem: str = ""
    remedy: str = ""
    layout: str = ""
    speakers: int = 0
    files: int = 0
    hours: float = 0.0
    opened: int = 0
    unusable_share: float = 0.0
    packed: bool = False

    @property
    def usable(self) -> float:
        """Files that can be used, as far as the sample says."""
        return self.files * (1.0 - self.unusable_share)


def look_at_speech(use: str, path: str, layout: str, max_unusable_share: float) -> tuple[Looked, Manifest]:
    """Return what a folder of speech holds, and its recordings by name, all as long as their mean."""
    folder = Path(path)
    try:
        if is_pack(folder) or is_list(folder, layout):
            manifest = scan(path, layout)
            return _exact(use, path, manifest, manifest.layout or "pack"), manifest
        paths = io.find_audio(folder)
        if not paths:
            raise CorpusError(f"no audio in {folder}")
        names = [PurePosixPath(file.relative_to(folder).as_posix()) for file in paths]
        layout = detect(names) if layout == "auto" else layout
        label = f"opening {min(SAMPLE, len(paths))} of {len(paths)} in {folder}"
        found, bad = _sampled(
            Looked(use, path, layout=layout, files=len(paths)),
            paths,
            lambda opened: check_files(opened, MIN_DURATION_S, MIN_ACTIVE_S, label),
        )
    except VoxanchorError as error:
        return _failed(use, path, error), Manifest(())
    owners = [OWNER[layout](name) for name in names]
    mean_s = 3600.0 * found.hours / max(found.usable, 1.0)
    utterances = tuple(
        Utterance(str(name), owner.speaker, mean_s, (Part(str(file)),), owner.session, str(name))
        for file, name, owner in zip(paths, names, owners, strict=True)
        if owner is not None
    )
    manifest = Manifest(utterances, root=path)
    named = len(utterances) / len(paths)
    share = 1.0 - (1.0 - found.unusable_share) * named
    found = replace(found, unusable_share=share, hours=found.hours * named, speakers=len(manifest.speakers))
    if share > max_unusable_share:
        reason = f"{100 * share:.0f} % cannot be used" + (f", for example {bad[0]}" if bad else "")
        found = replace(found, problem=reason, remedy=io.advice(paths))
    return found, manifest


def look_at_sounds(use: str, path: str, kind: Literal["noise", "rooms"]) -> Looked:
    """Return what a folder of noise or of room responses holds."""
    try:
        folder, part = split_part(path)
        if is_pack(folder):
            return _exact(use, path, noise_manifest(path) if kind == "noise" else room_manifest(path), "pack")
        paths = files_in(folder, part)
        left_out = set(unlisted(paths)) if kind == "rooms" else set()
        paths = [file for file in paths if file not in left_out]
        if not paths:
            raise CorpusError(f"no recordings in {path}")
        found, bad = _sampled(
            Looked(use, path, layout=part if part != "all" else "", files=len(paths)),
            paths,
            lambda opened: [checked(file, partial(_header, file)) for file in opened],
        )
    except VoxanchorError as error:
        return _failed(use, path, error)
    if len(bad) < found.opened:
        return found
    return replace(found, problem=f"none of {found.opened} files can be read", remedy=io.advice(paths))


def look_at_trials(use: str, path: str, manifest: Manifest, enrolments: str = "") -> Looked:
    """Return how many trials a list holds, when all its recordings are there by name."""
    if not Path(path).exists():
        return Looked(use, path, problem="no such file", remedy=where_to_get(path))
    if not manifest.utterances:
        return Looked(use, path, problem="cannot be compared with recordings that are not there")
    try:
        return Looked(use, path, files=len(read_trials(path, manifest, enrolments)))
    except VoxanchorError as error:
        return _failed(use, path, error)


def sample(paths: Sequence[Path]) -> list[Path]:
    """Return at most `SAMPLE` of the paths, evenly spread over them."""
    count = min(SAMPLE, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def _sampled(
    found: Looked, paths: Sequence[Path], check: Callable[[list[Path]], list[Checked]]
) -> tuple[Looked, list[str]]:
    """Return what a sample of the files says of all of them, and what is wrong with those that cannot be used."""
    opened = sample(paths)
    results = check(opened)
    usable_s = sum(one.duration_s for one in results if not one.reason)
    bad = [f"{printable(path.name)}: {one.reason}" for path, one in zip(opened, results, strict=True) if one.reason]
    hours = usable_s / len(opened) * len(paths) / 3600.0
    return replace(found, opened=len(opened), unusable_share=len(bad) / len(opened), hours=hours), bad


def _header(path: Path) -> Checked:
    return Checked(io.probe(path).duration_s)


def _exact(use: str, path: str, manifest: Manifest, layout: str) -> Looked:
    count, speakers = len(manifest), len(manifest.speakers)
    return Looked(use, path, "", "", layout, speakers, count, manifest.hours, count, packed=True)


def _failed(use: str, path: str, error: VoxanchorError) -> Looked:
    folder = split_part(path)[0]
    return Looked(use, path, problem=str(error) if folder.exists() else "no such folder", remedy=where_to_get(folder))


# What a plan is: places that were looked at, stages with what they cost, and how often they are run.


@dataclass(frozen=True)
class StagePlan:
    """One stage, or the evaluation.

    Attributes:
        kind: ``train``, ``anchors`` or ``evaluation``.
        steps: optimiser steps.
        epochs: how often each recording is seen; None while the speech is not there.
        hours: of audio that goes through the network; None while the speech is not there.
        seconds: that it will take here; None while `hours` is.
        memory_bytes: of training, most at one time; 0 for the others, which take less.
        times: how often the stage is run, with other seeds and settings; hours and seconds are those of once.
    """

    name: str
    kind: str
    steps: int = 0
    batch_size: int = 0
    crop_s: float = 0.0
    epochs: float | None = None
    hours: float | None = None
    seconds: float | None = None
    memory_bytes: int = 0
    times: int = 1


@dataclass(frozen=True)
class Plan:
    """What was found and what will happen.

    Attributes:
        looked: a place that the recipe names each.
        stages: in their order, the evaluation last.
        device: what was measured on.
        machine_bytes: memory of the machine; of its processor, where there is an accelerator too; 0 where the
            system does not say.
        notes: what else should be known.
    """

    name: str
    looked: tuple[Looked, ...]
    stages: tuple[StagePlan, ...]
    device: str
    machine_bytes: int
    notes: tuple[str, ...]

    @property
    def missing(self) -> tuple[Looked, ...]:
        """Places that cannot serve."""
        return tuple(place for place in self.looked if place.problem)

    @property
    def seconds(self) -> float:
        """All stages of which the time is known, together."""
        return sum(stage.times * (stage.seconds or 0.0) for stage in self.stages)

    @property
    def memory_bytes(self) -> int:
        """Most that is used at one time."""
        return max(stage.memory_bytes for stage in self.stages)


# How long a step and an embedding take on this machine, and how much memory a step keeps: measured in seconds.

SMALL_ROWS = 8
"""Rows of the batch that is tried first."""

LONGEST_STEP_S = 2.0
"""A whole step that will take longer than this is not run: it is calculated from the small one."""

_WEIGHT_BYTES = 16
"""Of a trained number: itself, its gradient and the two moments of the optimiser, in float32."""

_PASSING = 1.25
"""What a step needs for a moment beside what it keeps for the way back."""

_EMBED_S = 4.0


@dataclass(frozen=True)
class Step:
    """What an optimiser step costs.

    Attributes:
        seconds: for a step, network and optimiser; making the batch is not in it.
        bytes: memory for weights, gradients, optimiser and what the network keeps for the way back.
    """

    seconds: float
    bytes: int


def encoder_of(recipe: Recipe, reference: str) -> SpeakerEncoder:
    """Return the network that a stage starts from, with whatever weights: fresh ones in the place of a stage's."""
    while reference in recipe.stages:
        stage = recipe.stages[reference]
        reference = stage.pretrained or (stage.train.start if stage.train is not None else SCRATCH)
    if reference == SCRATCH:
        config = EncoderConfig(recipe.encoder.architecture, recipe.encoder.options)
        return registry.build(config, torch_seed(recipe.seed, 0, "init"))
    return registry.load(reference)


def measure_step(make: Callable[[], SpeakerEncoder], stage: Train, classes: int) -> Step:
    """Return what a step of a stage costs, on made-up audio.

    Args:
        make: gives the network; it is trained a little.
        stage: batch, crop, objectives and precision.
        classes: training speakers.
    """
    part = stage.batch_size // stage.accumulate
    rows = min(part, SMALL_ROWS) if best_device().type == "cpu" else part
    step = _run(make(), stage, rows, classes)
    if rows < part and step.seconds * part / rows <= LONGEST_STEP_S:
        rows, step = part, _run(make(), stage, part, classes)
    return replace(step, seconds=step.seconds * stage.batch_size / rows)


def measure_embedding(encoder: SpeakerEncoder, precision: Precision = "float32") -> float:
    """Return how many seconds of audio are embedded in a second."""
    encoder, chosen = encoder.to(best_device()).eval(), resolve(precision, best_device())
    samples = round(_EMBED_S * SAMPLE_RATE)
    waves = (0.1 * np.random.default_rng(0).standard_normal((4, samples))).astype(np.float32)
    lengths = np.full(4, samples, np.int64)
    forward(encoder, waves, lengths, chosen)
    began = time.perf_counter()
    forward(encoder, waves, lengths, chosen)
    return 4 * _EMBED_S / (time.perf_counter() - began)


def _run(student: SpeakerEncoder, stage: Train, rows: int, classes: int) -> Step:
    """Time the second and third step of a batch of `rows`; count what they keep, and scale that to the stage's."""
    steps = 4
    small = replace(stage, steps=steps, batch_size=rows, accumulate=1, checkpoint_every=10 * steps, compile=False)
    speakers = tuple(str(number) for number in range(classes))
    teacher = student.copy() if stage.needs_teacher else None
    task = SpeakerTask(student, small, speakers, _table(student, speakers) if stage.anchors else None, teacher)
    source = _MadeUp(small, task, classes)
    with (
        temporary_folder("voxanchor-plan-") as folder,
        torch.autograd.graph.saved_tensors_hooks(source.note, lambda tensor: tensor),
        contextlib.suppress(_EnoughError),
    ):
        train(task, source, small, folder, seed=0, label="measuring", workers=0)
    first, second, last = source.asked[1:]
    part = stage.batch_size // stage.accumulate
    weights = sum(weight.numel() for weight in task.parameters())
    size = _WEIGHT_BYTES * weights + round(_PASSING * source.most * part / rows)
    return Step(min(second - first, last - second), size)


class _EnoughError(Exception):
    """Ends a training that was begun to be timed."""


class _MadeUp:
    """Noise in the shape of the stage's batches; keeps when each was asked for, and what a step keeps in memory.

    What autograd saves for the way back is counted by its storages, those of the weights left out.
    """

    def __init__(self, stage: Train, task: torch.nn.Module, classes: int) -> None:
        self.device = torch.device("cpu")
        self.stage, self.classes = stage, classes
        self.asked: list[float] = []
        self.most = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in task.parameters()}
        self._saved: dict[int, int] = {}

    def render(self, step: int) -> Batch:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.asked.append(time.perf_counter())
        self.most = max(self.most, sum(self._saved.values()))
        self._saved.clear()
        if step == self.stage.steps - 1:
            raise _EnoughError
        rows, samples = self.stage.batch_size, round(self.stage.crop_s * SAMPLE_RATE)
        waves = 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(step))
        numbers = torch.arange(rows) % self.classes
        lengths = torch.full((rows,), samples, dtype=torch.int64)
        noisy = torch.arange(rows) >= round(rows * self.stage.clean_share)
        clean = waves.clone() if self.stage.needs_clean_pair else None
        return Batch(waves, lengths, numbers, numbers, noisy, clean).to(self.device)

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            # the first size counts: within a step a storage that was freed may give its place to another
            self._saved.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor.detach()


def _table(student: SpeakerEncoder, speakers: tuple[str, ...]) -> AnchorTable:
    """Return made-up anchors, one a speaker."""
    drawn = np.random.default_rng(0).standard_normal((len(speakers), student.config.embedding_dim))
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return AnchorTable(speakers, speakers, unit, "", "")


# What a recipe will do, before it does it: data on disk, stages in order, hours of audio, time and memory here.

_USUAL_CLASSES = 1000
"""Speakers to measure with while the speech is not there to count them."""

_BASE_BYTES = 500_000_000
"""Of a process with torch, before it does anything."""

_HELD_BYTES = 2 * 2**30
_SAMPLES_AN_HOUR = 2 * 16_000 * 3600


def make_plan(recipe: Recipe, seeds: Mapping[str, int] | None = None, trials: Mapping[str, int] | None = None) -> Plan:
    """Look at a recipe's data, and measure a few steps of its stages on made-up audio; nothing is written.

    Args:
        recipe: what is planned.
        seeds: how many training seeds a stage is run with; one where nothing is said.
        trials: how many runs of a stage come on top, to try settings.

    Raises:
        RecipeError: a suite that there is not.
        ModelError: a stage starts from a model that cannot be loaded.
    """
    seeds, trials = seeds or {}, trials or {}
    data, evaluation = recipe.data, recipe.evaluation
    speech = [
        look_at_speech("training speech", source.path, source.layout, data.max_unusable_share)[0]
        for source in data.speech
    ]
    looked = [
        *speech,
        *(look_at_sounds("training noise", path, "noise") for path in data.noise),
        *(look_at_sounds("training rooms", path, "rooms") for path in data.rooms),
    ]
    notes = _notes(speech)  # before measuring, which keeps the machine busy itself
    training, watching, held_out = _parted(recipe, speech)
    places, test = _look_at_test(evaluation, data.max_unusable_share) if evaluation else ([], None)
    stages = plan_stages(recipe, training)
    if evaluation is not None:
        if not evaluation.speech:
            test = watching if evaluation.speakers == "validation" else held_out
        stages.append(_evaluation(recipe, evaluation, test, seeds))
    return Plan(
        recipe.name,
        (*looked, *places),
        tuple(replace(stage, times=seeds.get(stage.name, 1) + trials.get(stage.name, 0)) for stage in stages),
        f"{best_device()}, {counted(torch.get_num_threads(), 'thread')}",
        _machine_bytes(),
        notes,
    )


class _Amount(NamedTuple):
    """So much speech."""

    recordings: float
    hours: float
    speakers: int


def _parted(recipe: Recipe, speech: Sequence[Looked]) -> tuple[_Amount | None, _Amount | None, _Amount | None]:
    """Return the speech to train on, to watch the training by, and held out; None while not all of it is there."""
    if any(place.problem for place in speech):
        return None, None, None
    data, whole = recipe.data, max(1, sum(place.speakers for place in speech))
    usable, hours = sum(place.usable for place in speech), sum(place.hours for place in speech)
    shares = [
        (source.hold_out_speakers / max(1, place.speakers), place)
        for place, source in zip(speech, data.speech, strict=True)
    ]
    held = sum(source.hold_out_speakers for source in data.speech)
    held_out = _Amount(sum(x * p.usable for x, p in shares), sum(x * p.hours for x, p in shares), held)
    left = sum(place.speakers for place in speech) - held
    count = min(data.validation_speakers, left // 4)
    watching = _Amount(count / whole * usable, count / whole * hours, count)
    # without labels next to nothing is held out
    kept = (left - count) / whole if left else 1.0
    voices, join_s = 1 + len(data.voice_speeds), max(data.join_s, 0.1)
    joined = sum(min(place.usable, place.hours * 3600.0 / join_s) for place in speech)  # short ones are joined
    training = _Amount(voices * kept * joined, voices * kept * hours, max(1, voices * (left - count)))
    return training, watching, held_out


def _look_at_test(evaluation: Evaluation, max_unusable_share: float) -> tuple[list[Looked], _Amount | None]:
    places: list[Looked] = []
    amount = None
    if evaluation.speech:
        found, manifest = look_at_speech("test speech", evaluation.speech, "auto", max_unusable_share)
        places.append(found)
        if found.problem:
            manifest = Manifest(())
        else:
            amount = _Amount(found.usable, found.hours, found.speakers)
        if evaluation.trials:
            places.append(look_at_trials("trials", evaluation.trials, manifest, evaluation.enrolments))
    suites: list[Evaluation | FurtherSuite] = [evaluation, *evaluation.suites.values()]
    noise = dict.fromkeys(path for entry in suites for path in entry.noise)
    rooms = dict.fromkeys(path for entry in suites for path in entry.rooms)
    places += [look_at_sounds("test noise", path, "noise") for path in noise]
    places += [look_at_sounds("test rooms", path, "rooms") for path in rooms]
    return places, amount


_NO_PART_IN_A_STEP = ("start", "anchors", "steps", "learning_rate", "validate_every", "checkpoint_every")
"""Settings of a stage that change neither the time nor the memory of one of its steps."""


def _cost_settings(stage: Train) -> dict[str, Any]:
    """Return what the cost of a step may depend on.

    All settings of the stage but those known to have no part in it: one that is added to `Train` later is then measured
    once too often at worst, and is never planned with the time and memory of another.
    """
    settings = {key: value for key, value in to_plain(stage).items() if key not in _NO_PART_IN_A_STEP}
    return {**settings, "scratch": stage.start == SCRATCH, "anchored": bool(stage.anchors)}


def plan_stages(recipe: Recipe, training: _Amount | None) -> list[StagePlan]:
    """Return the stages of a recipe with what they cost; equal ones are measured once."""
    steps: dict[str, Step] = {}
    plans = []
    for name, stage in recipe.stages.items():
        if stage.anchors is not None:
            plans.append(_plan_anchors(recipe, name, stage.anchors.of, training))
        elif stage.train is not None:
            plans.append(_plan_training(recipe, name, stage.train, training, steps))
    return plans


def _plan_training(
    recipe: Recipe, name: str, stage: Train, training: _Amount | None, steps: dict[str, Step]
) -> StagePlan:
    classes = _USUAL_CLASSES
    if training:
        recordings = stage.classification.classes == "recordings"
        classes = max(1, round(training.recordings)) if recordings else training.speakers
    key = fingerprint(_cost_settings(stage), classes, encoder_of(recipe, stage.start).config)
    if key not in steps:
        steps[key] = measure_step(lambda: encoder_of(recipe, stage.start), stage, classes)
    examples = stage.steps * stage.batch_size
    held = min(_HELD_BYTES, (training.hours if training else 0.0) * _SAMPLES_AN_HOUR)
    return StagePlan(
        name,
        "train",
        stage.steps,
        stage.batch_size,
        stage.crop_s,
        epochs=examples / training.recordings if training else None,
        hours=examples * stage.crop_s / 3600.0,
        seconds=stage.steps * steps[key].seconds,
        memory_bytes=_BASE_BYTES + round(held) + steps[key].bytes,
    )


def _plan_anchors(recipe: Recipe, name: str, of: str, training: _Amount | None) -> StagePlan:
    if training is None:
        return StagePlan(name, "anchors")
    seconds = 3600.0 * training.hours / measure_embedding(encoder_of(recipe, of))
    return StagePlan(name, "anchors", epochs=1.0, hours=training.hours, seconds=seconds)


def _evaluation(recipe: Recipe, evaluation: Evaluation, test: _Amount | None, seeds: Mapping[str, int]) -> StagePlan:
    entries = [(evaluation.suite, evaluation.noise, evaluation.noise_seeds)]
    entries += [
        (more.suite, more.noise or evaluation.noise, more.noise_seeds or evaluation.noise_seeds)
        for more in evaluation.suites.values()
    ]
    # a suite that there is not is refused, data or no data
    renderings = 1 + sum(count * len(_conditions(name, noise, recipe)) for name, noise, count in entries)
    if test is None:
        return StagePlan("evaluation", "evaluation")
    hours = test.hours
    if evaluation.segment_s:
        hours = min(hours, test.recordings * evaluation.max_segments * evaluation.segment_s / 3600.0)
    runs = {system: hours * renderings * seeds.get(system, 1) for system in evaluation.systems}
    seconds = sum(
        3600.0 * own / measure_embedding(encoder_of(recipe, system), evaluation.precision)
        for system, own in runs.items()
    )
    return StagePlan("evaluation", "evaluation", hours=sum(runs.values()), seconds=seconds)


def _conditions(name: str, noise: Sequence[str], recipe: Recipe) -> tuple[Condition, ...]:
    """Return the noisy conditions of a suite, those of classes of noise as far as the folders are there."""
    suite = named_suite(name)
    if suite.each_class:
        with contextlib.suppress(CorpusError):
            suite, _ = with_classes(suite, noise_classes(noise), recipe.data.noise)
    return suite.noisy


def _machine_bytes() -> int:
    """Return the memory of the machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has none of it
        return 0


def _notes(speech: Sequence[Looked]) -> tuple[str, ...]:
    notes = []
    load, cores = load_average(), os.cpu_count() or 1
    if load >= cores / 2:  # a step then takes several times as long as alone
        notes.append(f"the machine was busy before measuring (load {load:.1f} on {cores} cores): alone it is faster")
    loose = sum(place.hours for place in speech if not place.packed) * _SAMPLES_AN_HOUR
    if loose > _HELD_BYTES:
        notes.append(
            f"every training stage decodes the speech into an unnamed file of {size(round(loose))} in the folder for "
            "temporary files; packed once (voxanchor data pack), a stage begins at once without such a file"
        )
    return tuple(notes)


# The plan of a system: the stages that lead to its model, what they come to, and what is unequal between systems.


@dataclass(frozen=True)
class Effort:
    """What a plan has a model go through.

    Attributes:
        steps: optimiser steps of all its stages.
        clean: training examples without noise.
        noisy: training examples with noise, in rooms, or both.
        twins: clean crops seen beside noisy ones, by a consistency term or a live teacher.
        hours: of audio, twins among them.
    """

    steps: int
    clean: int
    noisy: int
    twins: int
    hours: float


def plan_of(recipe: Recipe, system: str) -> tuple[str, ...]:
    """Return the names of the stages that a system's model comes from, in the order in which they run."""
    needed = {system}
    for name in reversed(recipe.stages):
        if name in needed:
            needed.update(recipe.stages[name].needs)
    return tuple(name for name in recipe.stages if name in needed)


def effort(recipe: Recipe, system: str) -> Effort:
    """Return what the training stages of a system's plan come to."""
    trained = [stage.train for name in plan_of(recipe, system) if (stage := recipe.stages[name]).train is not None]
    examples = [(train, train.steps * train.batch_size) for train in trained]
    clean = sum(int(count * train.clean_share + 1e-9) for train, count in examples)
    twins = sum(count for train, count in examples if train.needs_clean_pair)
    seconds = sum(count * train.crop_s * (2 if train.needs_clean_pair else 1) for train, count in examples)
    noisy = sum(count for _, count in examples) - clean
    return Effort(sum(train.steps for train in trained), clean, noisy, twins, seconds / 3600)


def in_words(recipe: Recipe, system: str) -> tuple[str, ...]:
    """Return a sentence for each stage of a system's plan."""
    return tuple(_sentence(name, recipe.stages[name]) for name in plan_of(recipe, system))


def _sentence(name: str, stage: Stage) -> str:
    if stage.pretrained:
        return f"{name}: {stage.pretrained}, as it is"
    if stage.anchors is not None:
        return f"{name}: embeddings of the clean training speech by {stage.anchors.of}, frozen"
    train = stage.train
    assert train is not None
    terms = []
    if train.classification.weight:
        centres = "at the anchors" if train.classification.centres == "anchors" else "at random"
        terms.append(f"classification of {train.classification.classes}, centres starting {centres}")
    if train.has_anchor_loss:
        kind = train.anchor.kind.replace("_", " ")
        terms.append(f"pull to the {kind} anchor ({train.anchor.distance.replace('_', ' ')}, {train.anchor.weight:g})")
    if train.has_frame_loss:
        terms.append(f"pull of frames to the base model's ({train.anchor.frame_weight:g})")
    if train.consistency.weight:
        terms.append(f"consistency with the clean crop ({train.consistency.weight:g})")
    terms += [f"{loss} ({train.loss_options(loss)[0]:g})" for loss in train.losses]
    start = "from scratch" if train.start == SCRATCH else f"from {train.start}"
    return (
        f"{name}: {start}, {train.steps:,} steps of {train.batch_size} x {train.crop_s:g} s, "
        f"{100 * train.clean_share:.0f} % clean, learning rate {train.learning_rate.peak:g}; {'; '.join(terms)}"
    )


def unequal(recipe: Recipe, systems: Sequence[str], ours: str) -> tuple[str, ...]:
    """Return, a sentence each, in what the plans of `systems` differ from that of `ours` in what a model is given."""
    own = effort(recipe, ours)
    found = []
    for system in systems:
        other = effort(recipe, system)
        if system == ours:
            continue
        if recipe.stages[system].pretrained:
            found.append(f"{system} was trained elsewhere; what that took is not counted for any system")
            continue
        parts = []
        if other.steps != own.steps:
            parts.append(f"takes {other.steps:,} steps, {ours} {own.steps:,}")
        if (other.clean, other.noisy) != (own.clean, own.noisy):
            parts.append(
                f"hears {other.clean:,} clean and {other.noisy:,} noisy examples, "
                f"{ours} {own.clean:,} and {own.noisy:,}"
            )
        if other.twins != own.twins:
            parts.append(f"hears {other.twins:,} clean crops beside its inputs, {ours} {own.twins:,}")
        if parts:
            found.append(f"{system} {', and '.join(parts)}")
    return tuple(found)
