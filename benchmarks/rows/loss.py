"""The loss after 200 steps in bf16 and in fp32, from the same seeds. Takes over ten minutes: only when asked for."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import recordings
import torch
from measure import Answer, Row, Settings, Side
from steps import ECAPA_512

from rows.pairs import CROP_S, RECORDED
from voxanchor.models import registry
from voxanchor.runtime import Precision
from voxanchor.training.batches import Batches
from voxanchor.training.loop import METRICS_FILE, train
from voxanchor.training.task import SpeakerTask

SEEDS = (0, 1, 2)
LAST = 5
"""Logged losses that are averaged: those of every tenth step of the last fifty."""


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    steps, size = settings.pick(200, 10), settings.pick(16, 4)
    losses = {
        precision: tuple(_loss(heard, precision, steps, size, seed) for seed in SEEDS)
        for precision in ("bfloat16", "float32")
    }
    row = Row(
        f"training loss of ECAPA-512 after {steps} steps of {size} x {CROP_S:g} s, seeds {SEEDS}",
        "AAM loss",
        Side("voxanchor bf16", losses["bfloat16"]),
        Side("voxanchor fp32", losses["float32"]),
        goal="equal within the spread of the seeds",
        note="values are seeds, not repeats",
        better="lower",
    )
    return Answer([row])


def _loss(heard: recordings.Recordings, precision: Precision, steps: int, size: int, seed: int) -> float:
    stage = replace(
        RECORDED, steps=steps, batch_size=size, precision=precision, validate_every=0, checkpoint_every=10**6
    )
    torch.manual_seed(seed)
    task = SpeakerTask(registry.build(ECAPA_512, seed), stage, heard.manifest.speakers, None)
    with tempfile.TemporaryDirectory() as folder:
        source = Batches(heard.manifest, heard.bank(), stage, seed)
        train(task, source, stage, Path(folder), seed=seed, label=f"{precision}, seed {seed}")
        lines = [json.loads(line) for line in (Path(folder) / METRICS_FILE).read_text().splitlines()]
    last = [line["loss"] for line in lines if "loss" in line][-LAST:]
    return sum(last) / len(last)
