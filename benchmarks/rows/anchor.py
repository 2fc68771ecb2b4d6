"""What the anchor term adds to a training step: a look-up in the frozen table, or a teacher run on every batch."""

from dataclasses import replace

import numpy as np
import recordings
import torch
from measure import Answer, Row, Settings, in_turn, seconds
from steps import ClockedTask, Steps
from torch import Tensor

from rows.pairs import CROP_S, RECORDED
from voxanchor.objectives.anchored import anchor_loss
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch


class TaughtTask(ClockedTask):
    """The same with a live teacher: a frozen copy of the encoder gives the targets of every batch."""

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if "teacher" not in self.__dict__:
            # past Module's own attributes, so that it is no part of what is trained
            self.__dict__["teacher"] = self.student.copy().eval().requires_grad_(False)
        assert self.anchors is not None
        with torch.no_grad():
            self.anchors[batch.utterances] = self.__dict__["teacher"](batch.waves, batch.lengths)
        return super().forward(batch, step)


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    size, timed = settings.pick(RECORDED.batch_size, 8), settings.pick(2, 1)
    if torch.cuda.is_available():
        timed = settings.pick(50, 10)
    stage = replace(RECORDED, batch_size=size)
    sides = in_turn(
        {
            "voxanchor, anchor table": Steps(heard, stage, timed, anchors=_table(heard)).rate,
            "voxanchor without anchors": Steps(heard, stage, timed).rate,
            "voxanchor, live teacher": Steps(heard, stage, timed, TaughtTask, _table(heard)).rate,
        },
        settings.repeats,
        warm=0,
    )
    what = f"ECAPA-512 training step, {size} x {CROP_S:g} s, best precision, with the anchor term"
    table, without, needs_teacher = sides.values()
    step_s = size / without.median
    shares = in_turn({"voxanchor": lambda: _term_s(size) / step_s}, settings.repeats)
    note = "the teacher hears the noisy crop: what it hears does not change its cost"
    return Answer(
        [
            Row(what, "utterances/s", table, without),
            Row(what, "utterances/s", table, needs_teacher, note=note),
            Row(
                "the anchor term by itself, look-up, distance and gradient",
                "share of a step",
                shares["voxanchor"],
                goal="at most 0.03",
                note="two steps differ by more than this from one moment to the next, so it is timed alone",
                better="lower",
            ),
        ]
    )


def _term_s(size: int) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    anchors = torch.randn(10_000, 192, device=device)
    embeddings = torch.randn(size, 192, device=device, requires_grad=True)
    rows = torch.randint(len(anchors), (size,), device=device)

    def term() -> None:
        anchor_loss(embeddings, anchors[rows]).backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return seconds(term, least_s=0.2)


def _table(heard: recordings.Recordings) -> AnchorTable:
    utterances = heard.manifest.utterances
    drawn = np.random.default_rng(0).normal(size=(len(utterances), 192)).astype(np.float32)
    return AnchorTable(
        ids=tuple(utterance.id for utterance in utterances),
        speakers=tuple(utterance.speaker for utterance in utterances),
        embeddings=drawn / np.linalg.norm(drawn, axis=1, keepdims=True),
        model="",
        corpus="",
    )
