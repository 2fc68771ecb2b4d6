"""One training stage: trained once, or under a guard, from a model to the model that it ends with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from voxanchor import processes
from voxanchor.audio.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import DivergedError
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.progress import say
from voxanchor.rng import torch_seed
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batches
from voxanchor.training.compiled import compile_network, uncompiled
from voxanchor.training.guard import near_chance
from voxanchor.training.guarded import KEPT_FILE, Keeper, outcome, run_guarded
from voxanchor.training.loop import Reading, train
from voxanchor.training.stage import Train
from voxanchor.training.task import SpeakerTask, move
from voxanchor.training.validation import Validation


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

    def plain(self) -> tuple[SpeakerEncoder, dict[str, Any]] | None:
        """Train once; return the model and what validation says of it, in the first process."""
        task = self.task(self.stage)

        def look(_step: int) -> Reading:
            return Reading(self.measured(task)[0])

        self.train(task, self.stage, self.folder, None if self.validation is None else look)
        if not processes.first():
            return None
        if self.validation is None:
            return self.finished(task), {}
        values, encoder = self.measured(task)
        return encoder, {"validation": values}

    def guarded(self) -> tuple[SpeakerEncoder, dict[str, Any]] | None:
        """Train under the guard; return the best state and how it came out, in the first process."""
        assert self.validation is not None
        before: dict[str, float] = {}
        if processes.first():  # which alone judges
            before = dict(self.validation.measure(self.origin))
            if warning := near_chance(before):  # before hours of training, not after them
                say(f"warning: {warning}")
        keeper = Keeper(self.stage.guard, before, self.folder / KEPT_FILE)

        def attempt(number: int, stage: Train, folder: Path) -> bool:
            task = self.task(stage)

            def look(step: int) -> Reading:
                values, encoder = self.measured(task)
                return Reading(values, keeper.judge(number, step, values, encoder.state_dict) if step else True)

            return self.train(task, stage, folder, look)

        run_guarded(self.stage, self.folder, keeper, attempt)
        if not processes.first():
            return None
        found = outcome(self.folder, keeper)
        if found is None:
            raise DivergedError(
                f"{self.name}: training diverged before the first look at the model, in every attempt. Lower "
                f"learning_rate.peak (now {self.stage.learning_rate.peak:g}) and start in a new folder."
            )
        encoder = self.origin.copy()
        encoder.load_state_dict(found[1])
        return encoder, {"validation": dict(found[0].after), "guard": found[0].plain()}

    def task(self, stage: Train) -> SpeakerTask:
        """Return what is trained, at its start."""
        student = self.origin.copy()
        if stage.compile:
            compile_network(student.network)
        torch.manual_seed(torch_seed(self.seed, 0, "head"))
        return SpeakerTask(student, stage, self.manifest.speakers, self.table, self.teacher)

    def train(self, task: SpeakerTask, stage: Train, folder: Path, validate: Callable[[int], Reading] | None) -> bool:
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
        made = task.result.copy()
        if self.stage.blend < 1:
            blend(made, self.origin, self.stage.blend)
        return made

    def measured(self, task: SpeakerTask) -> tuple[dict[str, float], SpeakerEncoder]:
        """Return what validation finds of it, and it."""
        assert self.validation is not None
        made = self.finished(task)
        with uncompiled():
            return dict(self.validation.measure(made)), made


def blend(student: SpeakerEncoder, start: SpeakerEncoder, share: float) -> None:
    """Move the student's weights and statistics back towards where it started: `share` of the way is kept."""
    move(student, start, 1.0 - share)
