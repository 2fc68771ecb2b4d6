"""The stages of a recipe, one after the other, each watched for forgetting and resumed where it stopped."""

import contextlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import voxanchor
from voxanchor import config, runtime
from voxanchor.audio.babble import Babble
from voxanchor.conditions.bank import NoiseBank, noise_bank, voices
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.manifest import Manifest, Utterance, read_known
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import CorpusError, DivergedError, ModelError, RecipeError
from voxanchor.evaluation.embed import embed
from voxanchor.files import write_text
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign.user_reference import name as name_code
from voxanchor.rng import generator, torch_seed
from voxanchor.runtime import best_device, crowded, log_line, resolve
from voxanchor.scoring.metrics import eer
from voxanchor.scoring.scores import mean_cosine_apart, trial_scores
from voxanchor.training.anchors import AnchorTable, extract
from voxanchor.training.batches import Batches
from voxanchor.training.corpora import Corpora, gather, is_labelled
from voxanchor.training.guard import ForgettingGuard, gain, near_chance
from voxanchor.training.loop import ValidationResult, compile_network, load_state, save_state, train, uncompiled
from voxanchor.training.recipe import Recipe, Stage
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.training.task import SpeakerTask, interpolate
from voxanchor.types import Embeddings, Waveform

KEPT_FILE = "kept.pt"
ENDED_FILE = "ended.json"

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Attempt:
    """One training of a stage.

    Attributes:
        learning_rate: its peak.
        why: why training stopped before its last step; empty when it did not.
    """

    learning_rate: float
    why: str = ""


@dataclass(frozen=True)
class Guarded:
    """How a guarded stage came out.

    Attributes:
        attempts: in order.
        attempt: which of them the state that is kept is from, from 1.
        step: and after which step.
        before: what validation found at the start.
        after: and in the state that is kept.
        spent: its loss of clean quality, as a share of what is allowed.
        gain: how much better it is in noise, in points.
    """

    attempts: tuple[Attempt, ...]
    attempt: int
    step: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    spent: float
    gain: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the state should not replace the model that it started from; empty when it may."""
        found = []
        if self.spent > 1:
            found.append("it lost more on clean speech than is allowed")
        if self.gain < 0:
            found.append("it is worse in noise")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, ``accepted`` among them."""
        return {**asdict(self), "accepted": not self.faults, "faults": list(self.faults)}


class BestCheckpoint:
    """Judges states as they come and keeps the best on disk.

    Args:
        guard: the rules.
        before: what validation found at the start.
        path: file of the best state.
    """

    def __init__(self, guard: ForgettingGuard, before: Mapping[str, float], path: Path) -> None:
        self.guard, self.before, self.path = guard, before, path

    def update(self, attempt: int, step: int, values: Mapping[str, float], state: Callable[[], State]) -> bool:
        """Look at a state, keep it if it is the best so far, and return whether training may go on."""
        spent, cost = self.guard.spent(values, self.before), self.guard.cost(values)
        kept = load_state(self.path)
        least = cost if kept is None or not _comparable(kept, spent) else min(cost, kept["least"])
        if kept is None or self._better(spent, cost, kept):
            entry = {"attempt": attempt, "step": step, "values": dict(values), "spent": spent, "least": least}
            save_state(self.path, {**entry, "model": dict(state())})
        return spent < self.guard.stop_at

    def _better(self, spent: float, cost: float, kept: Mapping[str, Any]) -> bool:
        if (spent > 1) != (kept["spent"] > 1):
            return spent <= 1
        if spent > 1:
            return bool(spent <= kept["spent"])
        return bool(cost <= kept["least"] + self.guard.patience)


def _comparable(kept: Mapping[str, Any], spent: float) -> bool:
    """Return whether what is kept and a state that spent so much are both within the allowed loss, or both not."""
    return bool((kept["spent"] > 1) == (spent > 1))


def run_guarded(
    stage: Train,
    folder: Path,
    best: BestCheckpoint,
    attempt: Callable[[int, Train, Path], bool],
) -> None:
    """Train a stage, again with a lower learning rate where it fell past the guard's limits; resume where it stood.

    Args:
        stage: with its guard.
        folder: of the training; further attempts get a folder inside it.
        best: has the best state afterwards.
        attempt: trains as a stage says in a folder, and returns whether it came to its end.
    """
    for number in range(1, 2 + stage.guard.retries):
        place = folder if number == 1 else folder / f"attempt-{number}"
        peak = stage.learning_rate.peak * stage.guard.retry_rate ** (number - 1)
        if not runtime.agreed((place / ENDED_FILE).exists()):
            if number > 1:
                log_line(f"guard: once more from the start, with a learning rate of {peak:.3g}")
            slower = replace(stage, learning_rate=replace(stage.learning_rate, peak=peak))
            try:
                why = "" if attempt(number, slower, place) else "clean quality fell too far"
            except DivergedError:
                why = "training diverged"
            if runtime.first():
                write_text(place / ENDED_FILE, json.dumps(asdict(Attempt(peak, why))) + "\n")
                log_line(f"guard: stopped: {why}" if why else "guard: trained to the end")
        if runtime.agreed(_good(place, best, number)):
            return


def _good(place: Path, best: BestCheckpoint, number: int) -> bool:
    if not runtime.first():
        return False
    kept = load_state(best.path)
    ended = json.loads((place / ENDED_FILE).read_text(encoding="utf-8"))
    return kept is not None and not ended["why"] and kept["attempt"] == number and kept["spent"] <= 1


def outcome(folder: Path, best: BestCheckpoint) -> tuple[Guarded, State] | None:
    """Return how it came out and the state that is kept, or None where no state could be looked at."""
    kept = load_state(best.path)
    if kept is None:
        return None
    attempts, number = [], 1
    while (path := (folder if number == 1 else folder / f"attempt-{number}") / ENDED_FILE).exists():
        attempts.append(Attempt(**json.loads(path.read_text(encoding="utf-8"))))
        number += 1
    found = Guarded(
        tuple(attempts),
        kept["attempt"],
        kept["step"],
        best.before,
        kept["values"],
        kept["spent"],
        gain(kept["values"], best.before),
    )
    return found, kept["model"]


# Watching a stage on speakers it does not train on: error rates with labels, agreement with the start without.

SNR_DB = 5.0
SEGMENT_S = 3.0
MAX_SEGMENTS = 4


class Validation:
    """Measures an encoder on a fixed set of segments, clean and at `SNR_DB`, the kinds of noise taking turns.

    Of several processes the first alone measures; it does so on its accelerator, where it has one.

    Args:
        manifest: recordings of speakers kept out of training.
        bank: the training's noise; the draws are fixed, so every call hears the same audio.
        start: the model the stage starts from, for the agreement of the embeddings with it; None from scratch.
        seed: of the noise.
    """

    def __init__(self, manifest: Manifest, bank: NoiseBank, start: SpeakerEncoder | None, seed: int) -> None:
        self.segments = segment(manifest, SEGMENT_S, max_per_recording=MAX_SEGMENTS)
        if not self.segments.utterances:
            raise CorpusError("no recording of the validation speakers is long enough; set validation_speakers to 0")
        self._waves: dict[str, tuple[Waveform, Waveform]] = {}
        kinds = bank.kinds
        for place, utterance in enumerate(self.segments.utterances):
            clean = read_known(utterance)
            condition = Condition(kinds[place % len(kinds)], SNR_DB)
            draw = generator(seed, 0, utterance.id, "validation noise")
            noisy = render(clean, condition, bank, draw, exclude=voices(utterance))
            self._waves[utterance.id] = (clean, noisy.waveform)
        self._trials: TrialList | None = None
        with contextlib.suppress(CorpusError):  # one speaker, or no labels: nothing to verify, agreement remains
            self._trials = all_pairs(self.segments)
        self._reference = None if start is None or not runtime.first() else self._embed(start, noisy=False)
        self._alike = 0.0 if self._reference is None else _alike(self._reference, self.segments)

    def measure(self, encoder: SpeakerEncoder) -> Mapping[str, float]:
        """Return ``clean_eer`` and ``noisy_eer`` in percent, ``clean_agreement`` and ``noisy_agreement`` (cosine).

        And ``clean_identity``: the share of the way from the mean cosine of different recordings to 1 that the clean
        agreement is at. Error rates need labels, agreement needs a model to start from; what cannot be measured is
        left out.

        Raises:
            DivergedError: embeddings that are zero or not finite.
        """
        measured: dict[str, float] = {}
        clean, noisy = self._embed(encoder, noisy=False), self._embed(encoder, noisy=True)
        for name, test in (("clean", clean), ("noisy", noisy)):
            if self._trials is not None:
                scores = trial_scores(clean, test, self._trials.enrol, self._trials.test)
                measured[f"{name}_eer"] = round(100 * eer(scores, self._trials.target).eer, 3)
            if self._reference is not None:
                measured[f"{name}_agreement"] = round(float(np.sum(test * self._reference, axis=1).mean()), 5)
        if self._reference is not None:
            agreement = measured["clean_agreement"]
            measured["clean_identity"] = round((agreement - self._alike) / (1.0 - self._alike), 5)
        return measured

    def _embed(self, encoder: SpeakerEncoder, noisy: bool) -> np.ndarray:
        def read(utterance: Utterance) -> Waveform:
            return self._waves[utterance.id][int(noisy)]

        # a model that training starts from lies on the processor: a copy of it is measured, and let go
        device = best_device()
        there = encoder if next(encoder.parameters()).device == device else encoder.copy().to(device)
        found = embed(there, self.segments.utterances, label="validation", read=read)
        lost = int((~(np.abs(found).sum(axis=1) > 0) | ~np.isfinite(found).all(axis=1)).sum())
        if lost:
            raise DivergedError(
                f"the model gives no embedding of finite length for {lost} of {len(found)} segments of the validation "
                "speakers; lower learning_rate.peak, or look at the model that training starts from"
            )
        return found


def _alike(embeddings: Embeddings, segments: Manifest) -> float:
    """Return the mean cosine of segments of different recordings; 0 where there is only one, or all are the same."""
    mean = mean_cosine_apart(embeddings, [utterance.recording or utterance.id for utterance in segments.utterances])
    return mean if mean < 1.0 - 1e-6 else 0.0


# One training stage: trained once, or under a guard, from a model to the model that it ends with.


@dataclass(frozen=True)
class Job:
    """A training stage with all that it needs.

    Attributes:
        folder: where the training keeps its state.
        manifest: what is trained on.
        seed: of crops, noise and classes.
        table: anchors, of a stage that has them.
        origin: the model that it starts from.
        teacher: the model that made the anchors, of a stage in which it hears the clean crops.
        validation: of a stage that is watched.
    """

    name: str
    stage: Train
    folder: Path
    manifest: Manifest
    bank: NoiseBank
    seed: int
    workers: int | None
    table: AnchorTable | None
    origin: SpeakerEncoder
    teacher: SpeakerEncoder | None
    validation: Validation | None

    def once(self) -> tuple[SpeakerEncoder, dict[str, Any]] | None:
        """Train once, without a guard; return the model and what validation says of it, in the first process."""
        task = self.task(self.stage)

        def look(_step: int) -> ValidationResult:
            return ValidationResult(self.measured(task)[0])

        self.train(task, self.stage, self.folder, None if self.validation is None else look)
        if not runtime.first():
            return None
        if self.validation is None:
            return self.finished(task), {}
        values, encoder = self.measured(task)
        return encoder, {"validation": values}

    def guarded(self) -> tuple[SpeakerEncoder, dict[str, Any]] | None:
        """Train under the guard; return the best state and how it came out, in the first process."""
        assert self.validation is not None
        before: dict[str, float] = {}
        if runtime.first():  # which alone judges
            before = dict(self.validation.measure(self.origin))
            if warning := near_chance(before):  # before hours of training, not after them
                log_line(f"warning: {warning}")
        best = BestCheckpoint(self.stage.guard, before, self.folder / KEPT_FILE)

        def attempt(number: int, stage: Train, folder: Path) -> bool:
            task = self.task(stage)

            def look(step: int) -> ValidationResult:
                values, encoder = self.measured(task)
                return ValidationResult(values, best.update(number, step, values, encoder.state_dict) if step else True)

            return self.train(task, stage, folder, look)

        run_guarded(self.stage, self.folder, best, attempt)
        if not runtime.first():
            return None
        found = outcome(self.folder, best)
        if found is None:
            raise DivergedError(
                f"{self.name}: training diverged before the first look at the model, in every attempt. Lower "
                f"learning_rate.peak (now {self.stage.learning_rate.peak:g}) and start in a new folder."
            )
        encoder = self.origin.copy()
        encoder.load_state_dict(found[1])
        return encoder, {"validation": dict(found[0].after), "guard": found[0].to_dict()}

    def task(self, stage: Train) -> SpeakerTask:
        """Return what is trained, at its start."""
        student = self.origin.copy()
        if stage.compile:
            compile_network(student.network)
        torch.manual_seed(torch_seed(self.seed, 0, "head"))
        return SpeakerTask(student, stage, self.manifest.speakers, self.table, self.teacher)

    def train(
        self, task: SpeakerTask, stage: Train, folder: Path, validate: Callable[[int], ValidationResult] | None
    ) -> bool:
        """Optimise, and return whether it came to its end."""
        return train(
            task,
            Batches(self.manifest, self.bank, stage, self.seed),
            stage,
            folder,
            seed=self.seed,
            label=self.name,
            validate=validate,
            workers=self.workers,
        )

    def finished(self, task: SpeakerTask) -> SpeakerEncoder:
        """Return the model that the stage would end with as things stand."""
        made = task.student.copy()
        if self.stage.interpolation < 1:
            interpolate(made, self.origin, self.stage.interpolation)
        return made

    def measured(self, task: SpeakerTask) -> tuple[dict[str, float], SpeakerEncoder]:
        """Return what validation finds of it, and it."""
        assert self.validation is not None
        made = self.finished(task)
        with uncompiled():
            return dict(self.validation.measure(made)), made


# A recipe's stages, one after the other: each leaves a folder, and a finished one is never done again.

ANCHORS_FILE = "anchors.safetensors"
TRAINING_FOLDER = "training"
DONE_FILE = "done.json"


@dataclass(frozen=True)
class Run:
    """What a run works with and where its results lie.

    Attributes:
        folder: one sub-folder per stage: a model directory for a training stage, a table for an anchors stage.
        seed: of weights, crops and noise. The recipe's own seed parts the speakers and draws the noise by which
            training is watched, so that runs that differ in this seed alone can be compared.
        elsewhere: folders of stages that lie apart from the others.
    """

    recipe: Recipe
    folder: Path
    corpora: Corpora
    bank: NoiseBank
    workers: int | None = None
    seed: int = 0
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def stage_folder(self, name: str) -> Path:
        """Where a stage leaves its result."""
        return self.elsewhere.get(name, self.folder / name)

    def model(self, name: str) -> str:
        """Return the reference of the model that a stage ends with, or the name itself when it is no stage's."""
        stage = self.recipe.stages.get(name)
        if stage is None:
            return name
        return stage.pretrained or str(self.stage_folder(name))


def prepare(recipe: Recipe, folder: Path, workers: int | None = None) -> Run:
    """Scan the recipe's data and write what the run is made of: recipe, environment, lists of recordings.

    The caller holds the folder (`voxanchor.outputs.lock_run_dir`).
    """
    for stage in recipe.stages.values():
        for reference in (*stage.needs, stage.pretrained):
            name_code(reference)
    if best_device().type == "cpu" and torch.get_num_threads() > 1 and (remark := crowded()):
        log_line(remark)
    corpora = gather(recipe.data, recipe.seed)
    for name, stage in recipe.stages.items():
        _require_labels(name, stage, corpora.train)
    if not recipe.data.noise:
        log_line("no folder of noise: built-in noise and music are used, and babble from the speech itself")
    share = recipe.data.built_in_share
    bank = noise_bank(
        recipe.data.noise, corpora.train, built_in_share=share, for_evaluation=False, rooms=recipe.data.rooms
    )
    for line in bank.describe():
        log_line(f"training noise, {line}")
    for name, stage in recipe.stages.items():
        if stage.train is not None:
            _require_noise(name, stage.train, bank, corpora.train)
    if runtime.first():
        write_text(folder / "recipe.yaml", config.dump(recipe))
        write_text(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
        for name in ("train", "validation", "held_out"):
            getattr(corpora, name).save(folder / "data" / f"{name}.jsonl")
    return Run(recipe, folder, corpora, bank, workers, recipe.seed)


def run_stages(run: Run) -> None:
    """Run every stage of the recipe that is not finished yet."""
    for name, stage in run.recipe.stages.items():
        run_stage(run, name, stage)


def run_stage(run: Run, name: str, stage: Stage) -> None:
    """Run a stage, unless it is finished; those that it needs are."""
    folder = run.stage_folder(name)
    if (folder / DONE_FILE).exists():
        log_line(f"{name}: finished before, kept")
        return
    if stage.train is not None:
        _train(run, name, stage.train)
    elif stage.anchors is not None:
        encoder = start(run, stage.anchors.of).to(best_device())
        table = extract(encoder, run.corpora.train)
        if runtime.first():
            table.save(folder / ANCHORS_FILE)
            write_text(folder / DONE_FILE, json.dumps({"anchors": table.fingerprint, "model": table.model}) + "\n")
    runtime.wait()


def start(run: Run, reference: str) -> SpeakerEncoder:
    """Return the model a stage starts from: fresh weights, an earlier stage's model, or a published one."""
    if reference == SCRATCH:
        # from the seed alone, so that every stage from scratch starts at the same weights
        encoder = run.recipe.encoder
        return registry.build(EncoderConfig(encoder.architecture, encoder.options), torch_seed(run.seed, 0, "init"))
    return registry.load(run.model(reference))


def environment() -> dict[str, str]:
    """Return what the results may depend on: versions and machine."""
    return {
        "voxanchor": voxanchor.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        "processes": str(runtime.world()),
        "device": str(best_device()),
    }


def _require_labels(name: str, stage: Stage, manifest: Manifest) -> None:
    if stage.train is not None and stage.train.labelled and not is_labelled(manifest):
        raise CorpusError(
            f"stage {name}: the recordings have no speaker labels, which the classification term, anchors by agreement "
            "and losses of labels need. Arrange them in one folder per speaker, or train without (robustify "
            "--unlabelled; in a recipe, classification.classes: recordings)."
        )


def _require_noise(name: str, stage: Train, bank: NoiseBank, manifest: Manifest) -> None:
    """Refuse noise that cannot be drawn, before the stages that lead to this one have taken their time."""
    if unknown := sorted(set(stage.noise.kinds) - set(bank.kinds)):
        raise RecipeError(f"stage {name}: unknown noise '{unknown[0]}'. " + config.nearest(unknown[0], bank.kinds))
    babble = bank.source("babble")
    if not stage.noise.kinds.get("babble") or not isinstance(babble, Babble) or len(babble.speakers) > 1:
        return
    if stage.clean_share < 1 and any(voices(utterance) >= set(babble.speakers) for utterance in manifest.utterances):
        raise CorpusError(
            f"stage {name}: there is only one speaker, and nobody talks behind their own voice. Give recordings of "
            "other speakers, or their folder as --noise (a folder speech/ in it is babble)."
        )


def _train(run: Run, name: str, stage: Train) -> None:
    recipe, manifest = run.recipe, run.corpora.train
    table = AnchorTable.load(run.stage_folder(stage.anchors) / ANCHORS_FILE) if stage.anchors else None
    if table is not None and table.corpus != manifest.fingerprint:
        raise CorpusError(f"stage {name}: the anchors were made from other recordings. Run in a new folder.")
    device = best_device()
    batches = f"{stage.steps:,} steps of {stage.batch_size} x {stage.crop_s:g} s"
    log_line(f"{name}: {batches}, {resolve(stage.precision, device)} on {device}")
    origin = start(run, stage.start)
    same = table is not None and recipe.stages[stage.anchors].needs == (stage.start,)
    if table is not None and same and origin.fingerprint != table.model:
        raise ModelError(
            f"stage {name}: '{stage.start}' gave other weights than those that the anchors were made with. Code that "
            "makes a model must give the same weights in every call; if the model was changed, run in a new folder."
        )
    validation = None
    if stage.validate_every and run.corpora.validation.utterances:
        reference = None if stage.start == SCRATCH else origin
        validation = Validation(run.corpora.validation, run.bank, reference, recipe.seed)
    teacher = start(run, *recipe.stages[stage.anchors].needs) if stage.needs_teacher else None
    folder = run.stage_folder(name)
    data = manifest, run.bank, run.seed, run.workers
    job = Job(name, stage, folder / TRAINING_FOLDER, *data, table, origin, teacher, validation)
    if stage.guard.watch and validation is None:
        log_line(f"{name}: not watched for forgetting, because there is no validation")
    made = job.guarded() if stage.guard.watch and validation is not None else job.once()
    if made is None:
        return
    encoder, done = made
    encoder.save(folder)
    if table is not None:
        table.save(folder / ANCHORS_FILE)
    write_text(folder / DONE_FILE, json.dumps({"model": encoder.fingerprint, "steps": stage.steps, **done}) + "\n")
