"""Where the time of a training step goes: of ECAPA-512 from scratch, and of the step that `robustify` takes of GE2E."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import recordings
import torch
from measure import Answer, Row, Settings, Side
from steps import ECAPA_512
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from rows.pairs import RECORDED
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.runtime import keep_freed_memory
from voxanchor.training.anchors import extract
from voxanchor.training.batches import Batch, Batches
from voxanchor.training.loop import train
from voxanchor.training.stage import Train
from voxanchor.training.task import SpeakerTask
from voxanchor.workflows.robustify import make_recipe

WARM_STEPS = 3
PARTS = (
    "drawing and mixing the batch",
    "features",
    "network and losses forward",
    "backward and clipping",
    "AdamW",
    "rest",
)


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    heard = recordings.load(settings.recordings)
    steps = settings.pick(20, 2)
    rows = []
    jobs: dict[str, Callable[[], dict[str, list[float]]]] = {
        "ECAPA-512, 64 x 2 s": lambda: _profile(heard, registry.build(ECAPA_512), RECORDED, steps),
        "GE2E as robustify trains it, 48 x 1.6 s": lambda: _robustify(heard, steps),
    }
    for what, job in jobs.items():
        found = job()
        whole = sum(median(values) for values in found.values())
        for part in PARTS:
            note = f"{median(found[part]) / whole:.0%} of {1e3 * whole:.0f} ms"
            values = tuple(1e3 * value for value in found[part])
            rows.append(Row(f"{what}: {part}", "ms", Side("voxanchor", values), note=note, better="lower"))
    return Answer(rows)


def _robustify(heard: recordings.Recordings, steps: int) -> dict[str, list[float]]:
    recipe = make_recipe("ge2e", [heard.manifest.root], [str(heard.noise)], unlabelled=False)
    stage = recipe.stages["anchored"].train
    assert stage is not None
    return _profile(heard, registry.load("ge2e"), stage, steps, built_in_share=recipe.data.built_in_share)


def _profile(
    heard: recordings.Recordings, encoder: SpeakerEncoder, stage: Train, steps: int, built_in_share: float = 0.0
) -> dict[str, list[float]]:
    """Return the seconds of each part of each step."""
    stage = replace(stage, steps=WARM_STEPS + steps, validate_every=0, checkpoint_every=10**6)
    table = extract(encoder, heard.manifest) if stage.anchors else None
    task = SpeakerTask(encoder, stage, heard.manifest.speakers, table)
    clock = _Clock(Batches(heard.manifest, heard.bank(built_in_share), stage, seed=0))
    with tempfile.TemporaryDirectory() as folder, clock.watching(task):
        train(task, clock, stage, Path(folder), seed=0, label="steps", workers=0)
    return {part: values[WARM_STEPS:-1] for part, values in clock.parts().items()}


class _Clock:
    """A source of batches that notes when each part of a step begins and ends."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.device = batches.device
        self.times: dict[str, list[float]] = defaultdict(list)

    def note(self, what: str) -> None:
        self.times[what].append(time.perf_counter())

    def render(self, step: int) -> Batch:
        self.note("begin")
        batch = self.batches.render(step)
        self.note("rendered")
        return batch

    @contextmanager
    def watching(self, task: SpeakerTask) -> Iterator[None]:
        network: Any = task.student.network
        front_end = network.fbank if hasattr(network, "fbank") else network.spectrum
        handles = [
            task.register_forward_pre_hook(lambda *_: self.note("forward")),
            front_end.register_forward_pre_hook(lambda *_: self.note("features")),
            front_end.register_forward_hook(lambda *_: self.note("featured")),
            task.register_forward_hook(self._forwarded),
            register_optimizer_step_pre_hook(lambda *_: self.note("update")),
            register_optimizer_step_post_hook(lambda *_: self.note("updated")),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _forwarded(self, _task: object, _inputs: object, losses: dict[str, Tensor]) -> None:
        losses["loss"].item()
        self.note("forwarded")

    def parts(self) -> dict[str, list[float]]:
        spans = {
            "drawing and mixing the batch": ("begin", "rendered"),
            "features": ("features", "featured"),
            "forward": ("forward", "forwarded"),
            "backward and clipping": ("forwarded", "update"),
            "AdamW": ("update", "updated"),
        }
        found = {
            part: [after - before for before, after in zip(self.times[first], self.times[last], strict=True)]
            for part, (first, last) in spans.items()
        }
        ends = [*self.times["begin"][1:], self.times["updated"][-1]]
        whole = [end - begin for begin, end in zip(self.times["begin"], ends, strict=True)]
        known = zip(
            *(found[part] for part in ("drawing and mixing the batch", "forward", "backward and clipping", "AdamW")),
            strict=True,
        )
        found["rest"] = [total - sum(parts) for total, parts in zip(whole, known, strict=True)]
        both = zip(found.pop("forward"), found["features"], strict=True)
        found["network and losses forward"] = [forward - features for forward, features in both]
        return found
