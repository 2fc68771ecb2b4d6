"""How long a step and an embedding take on this machine, and how much memory a step keeps: measured in seconds."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from voxanchor.evaluation.embed import forward
from voxanchor.files import temporary_folder
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.precision import Precision, best_device, resolve
from voxanchor.rng import torch_seed
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch
from voxanchor.training.loop import train
from voxanchor.training.recipe import Recipe
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.training.task import SpeakerTask
from voxanchor.types import SAMPLE_RATE

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
        clean = waves.clone() if self.stage.paired else None
        return Batch(waves, lengths, numbers, numbers, noisy, clean).to(self.device)


def encoder_of(recipe: Recipe, reference: str) -> SpeakerEncoder:
    """Return the network that a stage starts from, with whatever weights: fresh ones in the place of a stage's."""
    while reference in recipe.stages:
        stage = recipe.stages[reference]
        reference = stage.take or (stage.train.start if stage.train is not None else SCRATCH)
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
    teacher = student.copy() if stage.taught else None
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
