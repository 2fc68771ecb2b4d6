"""What single choices are worth in a training step of ECAPA-512: memory that is kept, and torch.compile."""

from dataclasses import replace

import recordings
import torch
from measure import Answer, Row, Settings, in_turn
from steps import Steps

from rows.pairs import CROP_S, RECORDED
from voxanchor.runtime import Precision
from voxanchor.training.loop import compile_network

BACK = "freed memory given back"
"""No name of ours for `in_turn`: the allocator is then as Python leaves it."""


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    size, timed = settings.pick(RECORDED.batch_size, 8), settings.pick(2, 1)
    what = f"ECAPA-512 training step, {size} x {CROP_S:g} s, noise on"
    rows = []
    kinds: dict[str, Precision] = {"fp32": "float32", "bf16": "bfloat16"}
    for name, precision in kinds.items():
        stage = replace(RECORDED, batch_size=size, precision=precision)
        plain, compiled = Steps(heard, stage, timed), Steps(heard, stage, timed)
        if not compile_network(compiled.task.student.network):
            raise RuntimeError("torch cannot compile here")
        sides = in_turn(
            {f"voxanchor {name}": plain.rate, BACK: plain.rate, f"voxanchor {name}, compiled": compiled.rate},
            settings.repeats,
        )
        as_is, given_back, faster = sides.values()
        note = "the step before those that are timed compiles"
        rows += [Row(what, "utterances/s", as_is, given_back), Row(what, "utterances/s", faster, as_is, note=note)]
    return Answer(rows)
