"""Where the processor would wait for an accelerator: in a step of training nowhere, and in making batches seldom.

There is no accelerator here. A tensor on the device "meta" has no values, so whatever asks for one fails; and in making
batches, which must ask for some, it is counted how often.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.anchors import AnchorTable
from voxanchor.training.batches import Batch, Batches, prefetch
from voxanchor.training.stage import AnchorTerm, Classification, Consistency, Rooms, Train
from voxanchor.training.task import SpeakerTask

META = torch.device("meta")


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"classification": Classification(sampled=4)},
        {"classification": Classification(classes="recordings")},
        {"anchor": AnchorTerm(frame_weight=0.5)},
        {"consistency": Consistency(weight=1.0)},
    ],
    ids=["plain", "sampled", "recordings", "frames", "consistency"],
)
def test_a_step_waits_for_nothing(terms: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.autocast", lambda *_, **__: contextlib.nullcontext())  # which "meta" does not have
    student = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)
    names = tuple(str(number) for number in range(10))
    rows = np.random.default_rng(0).standard_normal((10, 16)).astype(np.float32)
    table = AnchorTable(names, names, rows / np.linalg.norm(rows, axis=1, keepdims=True), "", "")
    stage = replace(Train(start="base", anchors="anchors", steps=3, batch_size=4, crop_s=0.5), **terms)
    task = SpeakerTask(student, stage, names, table, student.copy() if stage.needs_teacher else None).to(META).train()
    waves, rows_of = torch.zeros(4, 8_000), torch.arange(4)
    batch = Batch(waves, torch.full((4,), 8_000), rows_of, rows_of, rows_of > 1, waves.clone()).to(META)
    assert batch.waves.device == META
    loss = task(batch, 0)["loss"]
    loss.backward()
    assert all(p.grad is not None for p in student.parameters())


@contextlib.contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count what would wait on an accelerator: values fetched, rows chosen by masks, copies that are waited for."""
    counts = {"fetched": 0, "masked": 0, "copied": 0}
    own = {name: getattr(torch.Tensor, name) for name in ("cpu", "item", "tolist", "to", "__getitem__", "__setitem__")}

    def fetching(name: str) -> Any:
        def fetch(self: torch.Tensor, *given: Any, **settings: Any) -> Any:
            counts["fetched"] += 1
            return own[name](self, *given, **settings)

        return fetch

    def indexing(name: str) -> Any:
        def index(self: torch.Tensor, places: Any, *given: Any) -> Any:
            counts["masked"] += isinstance(places, torch.Tensor) and places.dtype == torch.bool
            return own[name](self, places, *given)

        return index

    def copying(self: torch.Tensor, *given: Any, **settings: Any) -> Any:
        moved = any(isinstance(one, torch.device | torch.Tensor) for one in given)
        counts["copied"] += moved and not settings.get("non_blocking", False)
        return own["to"](self, *given, **settings)

    with monkeypatch.context() as patch:
        for name in ("cpu", "item", "tolist"):
            patch.setattr(torch.Tensor, name, fetching(name))
        for name in ("__getitem__", "__setitem__"):
            patch.setattr(torch.Tensor, name, indexing(name))
        patch.setattr(torch.Tensor, "to", copying)
        yield counts


def test_making_a_batch_waits_for_decisions_alone(
    manifest: Manifest, bank: NoiseBank, stage: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Batches(manifest, bank, replace(stage, batch_size=16, rooms=Rooms(share=0.3), gain_db=(-3.0, 3.0)), 0)
    batches.render(0)
    with counting(monkeypatch) as counts:
        for step in range(1, 9):
            batches.render(step)
    assert (counts["masked"], counts["copied"]) == (0, 0)
    # is there speech in the crops, and again for those drawn anew, and is speech or noise silent
    assert 8 * 2 <= counts["fetched"] <= 8 * 8


class Stream:
    """Stands for a CUDA stream; notes what is asked of it."""

    made: "list[Stream]" = []  # noqa: RUF012

    def __init__(self, device: torch.device) -> None:
        self.device, self.waited = device, []  # type: ignore[var-annotated]
        Stream.made.append(self)

    def record_event(self) -> "tuple[Stream, str]":
        return self, "recorded"

    def wait_event(self, event: object) -> None:
        self.waited.append(event)


class Field:
    """Stands for a tensor on a GPU."""

    device = torch.device("cuda")

    def __init__(self) -> None:
        self.used_on: list[object] = []

    def record_stream(self, stream: object) -> None:
        self.used_on.append(stream)


def test_workers_make_batches_on_streams_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Stream(torch.device("cuda"))
    Stream.made.clear()
    inside: list[Stream] = []

    @contextlib.contextmanager
    def entered(stream: Stream) -> Iterator[None]:
        inside.append(stream)
        yield
        inside.remove(stream)

    monkeypatch.setattr("torch.cuda.Stream", Stream)
    monkeypatch.setattr("torch.cuda.stream", entered)
    monkeypatch.setattr("torch.cuda.current_stream", lambda _device: model)

    def render(step: int) -> Batch:
        assert len(inside) == 1
        lengths = torch.full((2,), step)
        return Batch(Field(), lengths, Field(), Field(), Field())  # type: ignore[arg-type]

    for number, batch in enumerate(prefetch(render, range(5), 1, device=torch.device("cuda"))):
        assert int(batch.lengths[0]) == number
        # the model waits for the batch, and its memory for the model
        assert model.waited[-1] == (Stream.made[0], "recorded")
        assert batch.waves.used_on == batch.noisy.used_on == [model]  # type: ignore[attr-defined]
    assert len(Stream.made) == 1
