"""voxanchor's own training loop, run for a few steps of ECAPA-512 and timed from step to step."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import recordings
import torch
from torch import Tensor

from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch, Batches
from voxanchor.training.loop import train
from voxanchor.training.stage import Train
from voxanchor.training.task import SpeakerTask

ECAPA_512 = EncoderConfig("ecapa", {"channels": 512})
WARM_STEPS = 4
"""Steps before those that are timed: by then a process has all the memory that its steps take in turn."""


class ClockedTask(SpeakerTask):
    """The task, noting when each step begins, and ending the run when enough of them have."""

    last = 0
    first_start = last_start = 0.0

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if step in (WARM_STEPS, self.last):
            # only here: between steps it would make a GPU idle, which the loop takes care not to do
            if batch.waves.is_cuda:
                torch.cuda.synchronize()
            if step == self.last:
                self.last_start = time.perf_counter()
                raise _EnoughError
            self.first_start = time.perf_counter()
        return super().forward(batch, step)


class _EnoughError(Exception):
    """Ends a run, before the last step is taken and a state is saved."""


class Steps:
    """Runs of a stage; each call gives utterances a second of `timed` steps, after a few that do not count.

    On the processor batches are rendered in the step's own time, by `workers` 0; on a GPU beside it.
    """

    def __init__(
        self,
        heard: recordings.Recordings,
        stage: Train,
        timed: int,
        task: type[ClockedTask] = ClockedTask,
        anchors: AnchorTable | None = None,
    ) -> None:
        self.stage = replace(stage, steps=10**6, validate_every=0, checkpoint_every=10**6)
        self.timed = timed
        self.batches = Batches(heard.manifest, heard.bank(), self.stage, seed=0)
        self.task = task(registry.build(ECAPA_512), self.stage, heard.manifest.speakers, anchors)
        self.task.last = WARM_STEPS + timed

    def rate(self) -> float:
        """Return utterances a second, every batch rendered."""
        return self._run(self.batches)

    def rate_at_hand(self) -> float:
        """Return utterances a second, the same batch every time."""
        return self._run(_AtHand(self.batches.render(0)))

    def _run(self, source: "Batches | _AtHand") -> float:
        workers = int(torch.cuda.is_available())
        with tempfile.TemporaryDirectory() as folder:
            try:
                train(self.task, source, self.stage, Path(folder), seed=0, label="steps", workers=workers)
            except _EnoughError:
                passed = self.task.last_start - self.task.first_start
                return self.timed * self.stage.batch_size / passed
        raise AssertionError("the run ended before the last step")


class _AtHand:
    """A source that gives one batch for ever, from where the model runs."""

    device = torch.device("cpu")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def render(self, step: int) -> Batch:  # noqa: ARG002
        self.batch = self.batch.to(self.device)
        return self.batch
