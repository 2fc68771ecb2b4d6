"""What a recipe will do before it does it: data, stages, hours of audio, time and memory."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch

from voxanchor.audio import io
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import noise_classes, with_classes
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.config import fingerprint, to_plain
from voxanchor.corpus.checks import Checked, check_files, checked
from voxanchor.corpus.download import size, where_to_get
from voxanchor.corpus.layouts import MIN_ACTIVE_S, MIN_DURATION_S, in_part, is_list, noise_manifest, scan, split_part
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
from voxanchor.training.recipe import Evaluation, Recipe
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
    try:
        if is_pack(Path(path)) or is_list(Path(path), layout):
            manifest = scan(path, layout)
            return _packed(use, path, manifest, "pack" if is_pack(Path(path)) else manifest.layout), manifest
        return _speech(use, Path(path), layout, max_unusable_share)
    except VoxanchorError as error:
        return _failed(use, path, error), Manifest(())


def look_at_sounds(use: str, path: str, kind: Literal["noise", "rooms"]) -> Looked:
    """Return what a folder of noise or of room responses holds."""
    try:
        folder, part = split_part(path)
        if is_pack(folder):
            return _packed(use, path, noise_manifest(path) if kind == "noise" else room_manifest(path))
        paths = io.find_audio(folder)
        left_out = set(unlisted(paths)) if kind == "rooms" else set()
        names = [file.relative_to(folder).as_posix() for file in paths]
        chosen = in_part(names, part, str(folder))
        paths = [file for file, taken in zip(paths, chosen, strict=True) if taken and file not in left_out]
        if not paths:
            raise CorpusError(f"no recordings in {path}")
        return _described(Looked(use, path, layout=part if part != "all" else "", files=len(paths)), paths)
    except VoxanchorError as error:
        return _failed(use, path, error)


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


def _speech(use: str, folder: Path, layout: str, max_unusable_share: float) -> tuple[Looked, Manifest]:
    paths = io.find_audio(folder)
    if not paths:
        raise CorpusError(f"no audio in {folder}")
    names = [PurePosixPath(path.relative_to(folder).as_posix()) for path in paths]
    layout = detect(names) if layout == "auto" else layout
    opened = sample(paths)
    looked = check_files(opened, MIN_DURATION_S, MIN_ACTIVE_S, f"opening {len(opened)} of {len(paths)} in {folder}")
    lengths = [one.duration_s for one in looked if not one.reason]
    bad = [f"{printable(path.name)}: {one.reason}" for path, one in zip(opened, looked, strict=True) if one.reason]
    mean_s = sum(lengths) / len(lengths) if lengths else 0.0
    owners = [OWNER[layout](name) for name in names]
    utterances = tuple(
        Utterance(str(name), owner.speaker, mean_s, (Part(str(path)),), owner.session, str(name))
        for path, name, owner in zip(paths, names, owners, strict=True)
        if owner is not None
    )
    share = 1.0 - (len(lengths) / len(opened)) * (len(utterances) / len(paths))
    found = Looked(use, str(folder), layout=layout, files=len(paths), opened=len(opened), unusable_share=share)
    manifest = Manifest(utterances, root=str(folder))
    found = replace(found, speakers=len(manifest.speakers), hours=mean_s * found.usable / 3600.0)
    if share > max_unusable_share:
        reason = f"{100 * share:.0f} % cannot be used" + (f", for example {bad[0]}" if bad else "")
        found = replace(found, problem=reason, remedy=io.advice(paths))
    return found, manifest


def _described(found: Looked, paths: Sequence[Path]) -> Looked:
    """Add hours from the headers of a sample."""
    opened = sample(paths)
    looked = [checked(path, partial(_header, path)) for path in opened]
    lengths = [one.duration_s for one in looked if not one.reason]
    share = 1.0 - len(lengths) / len(opened)
    hours = sum(lengths) / len(opened) * len(paths) / 3600.0
    problem = "" if lengths else f"none of {len(opened)} files can be read"
    remedy = io.advice(paths) if problem else ""
    return replace(found, opened=len(opened), unusable_share=share, hours=hours, problem=problem, remedy=remedy)


def _header(path: Path) -> Checked:
    return Checked(io.probe(path).duration_s)


def _packed(use: str, path: str, manifest: Manifest, layout: str = "pack") -> Looked:
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
        epochs: how often each recording is heard; None while the speech is not there.
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


@dataclass(frozen=True)
class Repeats:
    """How often stages are run.

    Attributes:
        seeds: how many training seeds a stage is run with; one where nothing is said.
        trials: how many runs come on top, to try settings.
    """

    seeds: Mapping[str, int] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)

    def of(self, stage: str) -> int:
        """Return how often a stage is run."""
        return self.seeds.get(stage, 1) + self.trials.get(stage, 0)


ONCE = Repeats()
"""Every stage is run once."""


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
        rows: of the batch that was measured.
    """

    seconds: float
    bytes: int
    rows: int


class _EnoughError(Exception):
    """Ends a training that was begun to be timed."""


class _MadeUp:
    """Noise in the shape of the stage's batches; keeps when each was asked for."""

    def __init__(self, stage: Train, classes: int, kept: "_Kept") -> None:
        self.device = torch.device("cpu")
        self.stage, self.classes, self.kept = stage, classes, kept
        self.asked: list[float] = []

    def render(self, step: int) -> Batch:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.asked.append(time.perf_counter())
        self.kept.next_step()
        if step == self.stage.steps - 1:
            raise _EnoughError
        rows, samples = self.stage.batch_size, round(self.stage.crop_s * SAMPLE_RATE)
        waves = 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(step))
        numbers = torch.arange(rows) % self.classes
        lengths = torch.full((rows,), samples, dtype=torch.int64)
        noisy = torch.arange(rows) >= round(rows * self.stage.clean_share)
        clean = waves.clone() if self.stage.needs_clean_pair else None
        return Batch(waves, lengths, numbers, numbers, noisy, clean).to(self.device)


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
    weights = sum(weight.numel() for weight in task.parameters())
    kept = _Kept(task)
    source = _MadeUp(small, classes, kept)
    with (
        temporary_folder("voxanchor-plan-") as folder,
        torch.autograd.graph.saved_tensors_hooks(kept.note, _as_it_is),
        contextlib.suppress(_EnoughError),
    ):
        train(task, source, small, folder, seed=0, label="measuring", workers=0)
    first, second, last = source.asked[1], source.asked[2], source.asked[3]
    part = stage.batch_size // stage.accumulate
    size = _WEIGHT_BYTES * weights + round(_PASSING * kept.most * part / rows)
    return Step(min(second - first, last - second), size, rows)


class _Kept:
    """Adds up the storages that autograd keeps for the way back, those of the weights left out."""

    def __init__(self, task: torch.nn.Module) -> None:
        self._weights = {weight.untyped_storage().data_ptr() for weight in task.parameters()}
        self._step: set[int] = set()
        self._bytes = 0
        self.most = 0

    def next_step(self) -> None:
        self.most = max(self.most, self._bytes)
        self._step, self._bytes = set(), 0

    def note(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in self._weights and place not in self._step:
            self._step.add(place)
            self._bytes += storage.nbytes()
        return tensor.detach()


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


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


def make_plan(recipe: Recipe, repeats: Repeats = ONCE) -> Plan:
    """Look at a recipe's data, and measure a few steps of its stages on made-up audio; nothing is written.

    Args:
        recipe: what is planned.
        repeats: how often its stages are run.

    Raises:
        RecipeError: a suite that there is not.
        ModelError: a stage starts from a model that cannot be loaded.
    """
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
    test = None
    if evaluation is not None:
        places, test = _look_at_test(evaluation, data.max_unusable_share)
        looked += places
    busy = _busy()
    training = None if any(place.problem for place in speech) else _training(recipe, speech)
    stages = _Measuring(recipe, training).stages()
    if evaluation is not None:
        # the speakers held out are as the others
        stages.append(
            _evaluation(recipe, evaluation, test if evaluation.speech else _apart(recipe, evaluation, speech), repeats)
        )
    stages = [replace(stage, times=repeats.of(stage.name)) for stage in stages]
    return Plan(
        recipe.name,
        tuple(looked),
        tuple(stages),
        f"{best_device()}, {counted(torch.get_num_threads(), 'thread')}",
        _machine_bytes(),
        (*busy, *_notes(speech)),
    )


@dataclass(frozen=True)
class _Amount:
    """So much speech."""

    recordings: float
    hours: float
    speakers: int


def _training(recipe: Recipe, speech: list[Looked]) -> _Amount:
    """Return what is trained on, speakers held out and voices added."""
    voices = 1 + len(recipe.data.voice_speeds)
    speakers = sum(
        place.speakers - source.hold_out_speakers for place, source in zip(speech, recipe.data.speech, strict=True)
    )
    aside = min(recipe.data.validation_speakers, speakers // 4)
    kept = (speakers - aside) / max(1, sum(place.speakers for place in speech))
    kept = kept if speakers else 1.0  # without labels next to nothing is put aside
    hours = sum(place.hours for place in speech)
    join_s = max(recipe.data.join_s, 0.1)
    recordings = sum(min(place.usable, place.hours * 3600.0 / join_s) for place in speech)  # short ones are joined
    return _Amount(voices * kept * recordings, voices * kept * hours, max(1, voices * (speakers - aside)))


def _apart(recipe: Recipe, evaluation: Evaluation, speech: list[Looked]) -> _Amount | None:
    """Return what is evaluated on of the speech: the speakers held out, or those that training is watched by."""
    if any(place.problem for place in speech):
        return None
    if evaluation.speakers == "validation":
        whole = sum(place.speakers for place in speech)
        left = whole - sum(source.hold_out_speakers for source in recipe.data.speech)
        count = min(recipe.data.validation_speakers, left // 4)
        share = count / max(1, whole)
        return _Amount(share * sum(p.usable for p in speech), share * sum(p.hours for p in speech), count)
    shares = [s.hold_out_speakers / max(1, place.speakers) for place, s in zip(speech, recipe.data.speech, strict=True)]
    return _Amount(
        sum(share * place.usable for place, share in zip(speech, shares, strict=True)),
        sum(share * place.hours for place, share in zip(speech, shares, strict=True)),
        sum(source.hold_out_speakers for source in recipe.data.speech),
    )


def _look_at_test(evaluation: Evaluation, max_unusable_share: float) -> tuple[list[Looked], _Amount | None]:
    places: list[Looked] = []
    amount = None
    if evaluation.speech:
        found, manifest = look_at_speech("test speech", evaluation.speech, "auto", max_unusable_share)
        places.append(found)
        if not found.problem:
            amount = _Amount(found.usable, found.hours, found.speakers)
        if evaluation.trials:
            places.append(
                look_at_trials(
                    "trials", evaluation.trials, manifest if not found.problem else Manifest(()), evaluation.enrolments
                )
            )
    noise = [*evaluation.noise, *(path for entry in evaluation.suites.values() for path in entry.noise)]
    rooms = [*evaluation.rooms, *(path for entry in evaluation.suites.values() for path in entry.rooms)]
    places += [look_at_sounds("test noise", path, "noise") for path in dict.fromkeys(noise)]
    places += [look_at_sounds("test rooms", path, "rooms") for path in dict.fromkeys(rooms)]
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


class _Measuring:
    """The stages of a recipe with what they cost; what is alike is measured once."""

    def __init__(self, recipe: Recipe, training: _Amount | None) -> None:
        self.recipe, self.training = recipe, training
        self._steps: dict[str, Step] = {}

    def stages(self) -> list[StagePlan]:
        return [
            self._train(name, stage.train) if stage.train else self._anchors(name, *stage.needs)
            for name, stage in self.recipe.stages.items()
            if not stage.pretrained
        ]

    def _train(self, name: str, stage: Train) -> StagePlan:
        classes = _USUAL_CLASSES
        if self.training:
            recordings = stage.classification.classes == "recordings"
            classes = max(1, round(self.training.recordings)) if recordings else self.training.speakers
        key = fingerprint(_cost_settings(stage), classes, encoder_of(self.recipe, stage.start).config)
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = measure_step(lambda: encoder_of(self.recipe, stage.start), stage, classes)
        heard = stage.steps * stage.batch_size
        held = min(_HELD_BYTES, (self.training.hours if self.training else 0.0) * _SAMPLES_AN_HOUR)
        return StagePlan(
            name,
            "train",
            stage.steps,
            stage.batch_size,
            stage.crop_s,
            heard / self.training.recordings if self.training else None,
            heard * stage.crop_s / 3600.0,
            stage.steps * step.seconds,
            _BASE_BYTES + round(held) + step.bytes,
        )

    def _anchors(self, name: str, of: str) -> StagePlan:
        if self.training is None:
            return StagePlan(name, "anchors")
        rate = measure_embedding(encoder_of(self.recipe, of))
        hours = self.training.hours
        return StagePlan(name, "anchors", epochs=1.0, hours=hours, seconds=3600.0 * hours / rate)


def _evaluation(recipe: Recipe, evaluation: Evaluation, test: _Amount | None, repeats: Repeats) -> StagePlan:
    for name in (evaluation.suite, *(more.suite for more in evaluation.suites.values())):
        named_suite(name)  # refuses what there is not, data or no data
    if test is None:
        return StagePlan("evaluation", "evaluation")
    hours = test.hours
    if evaluation.segment_s:
        hours = min(hours, test.recordings * evaluation.max_segments * evaluation.segment_s / 3600.0)
    entries = [(evaluation.suite, evaluation.noise, evaluation.noise_seeds)]
    entries += [
        (more.suite, more.noise or evaluation.noise, more.noise_seeds or evaluation.noise_seeds)
        for more in evaluation.suites.values()
    ]
    renderings = 1 + sum(seeds * len(_conditions(name, noise, recipe)) for name, noise, seeds in entries)
    heard = 0.0
    seconds = 0.0
    for system in evaluation.systems:
        own = hours * renderings * repeats.seeds.get(system, 1)
        heard += own
        seconds += 3600.0 * own / measure_embedding(encoder_of(recipe, system), evaluation.precision)
    return StagePlan("evaluation", "evaluation", hours=heard, seconds=seconds)


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


def _busy() -> list[str]:
    """Return a remark when others are at work on the machine: a step then takes several times as long as alone."""
    load, cores = load_average(), os.cpu_count() or 1
    if load < cores / 2:
        return []
    return [f"the machine was busy before measuring (load {load:.1f} on {cores} cores): alone it is faster"]


def _notes(speech: list[Looked]) -> list[str]:
    loose = sum(place.hours for place in speech if not place.packed)
    if loose * _SAMPLES_AN_HOUR <= _HELD_BYTES:
        return []
    return [
        f"every training stage decodes the speech into an unnamed file of {size(round(loose * _SAMPLES_AN_HOUR))} in "
        "the folder for temporary files; packed once (voxanchor data pack), a stage begins at once without such a file"
    ]
