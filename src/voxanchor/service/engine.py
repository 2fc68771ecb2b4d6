"""What the routes share: models behind queues that batch requests, the store, and worker threads."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments.store import Store
from voxanchor.models.batches import pad
from voxanchor.service import requests
from voxanchor.service.backgrounds import Backgrounds
from voxanchor.service.requests import Metrics
from voxanchor.service.settings import Settings
from voxanchor.types import SAMPLE_RATE, Embeddings, IntArray, Waveform
from voxanchor.verification.embedding import Embedder
from voxanchor.verification.verifier import Verifier

LEAST_FULL = 0.7
"""A recording joins a batch only if it has at least this share of the longest one's length: padding costs time."""


@dataclass(frozen=True)
class _Waiting:
    wave: Waveform
    call: requests.Call
    embedding: Future[NDArray[np.float32]] = field(default_factory=Future)


class BatchingEmbedder:
    """An embedder for many threads, which batches concurrent requests by length.

    A few threads run the model, so that concurrent requests do not fight for the cores. While they work, recordings
    gather for the next batch; they never wait for more, which gained nothing when it was tried (docs/service.md).
    Recordings of requests that were given up are dropped. An error reaches the one who sent the recording.
    Embeddings equal those of a recording alone to 1e-5.

    Args:
        embedder: the model.
        batch_s: padded seconds of audio in a batch; a longer recording is one of its own. 0: never more than one.
        threads: so many run the model.
        observe: called with the number of recordings of every batch.
    """

    def __init__(
        self,
        embedder: Embedder,
        batch_s: float,
        threads: int = 1,
        observe: Callable[[int], None] = lambda recordings: None,  # noqa: ARG005
    ) -> None:
        self.embedder = embedder
        self._batch_samples = batch_s * SAMPLE_RATE
        self._threads = threads
        self._observe = observe
        self._queue: list[_Waiting] = []
        self._filled = threading.Condition()
        self._workers: list[threading.Thread] = []
        self._closed = False

    @property
    def fingerprint(self) -> str:
        """As the model's."""
        return self.embedder.fingerprint

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.embedder.embedding_dim

    @property
    def min_samples(self) -> int:
        """As the model's."""
        return self.embedder.min_samples

    @property
    def hears_level(self) -> bool:
        """As of the model."""
        return self.embedder.hears_level

    @property
    def waiting(self) -> int:
        """How many recordings wait for the model."""
        return len(self._queue)

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        """Return (B, D) unit vectors of (B, T) waveforms with (B,) lengths in samples.

        Raises:
            Refusal: the request ran out of time, or the service stops.
            VoxanchorError: what the model says of this recording.
        """
        call = requests.current()
        call.deadline.check()
        items = [_Waiting(wave[:length], call) for wave, length in zip(waves, lengths, strict=True)]
        with self._filled:
            if self._closed:
                raise requests.timed_out()
            if not self._workers:
                self._workers = [threading.Thread(target=self._run, daemon=True) for _ in range(self._threads)]
                for worker in self._workers:
                    worker.start()
            self._queue += items
            self._filled.notify_all()
        try:
            rows = [item.embedding.result() for item in items]
        except CancelledError:
            raise requests.timed_out() from None
        call.deadline.check()
        return np.stack(rows)

    def close(self) -> None:
        """Embed what waits, and end the threads."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
        for worker in self._workers:
            worker.join()

    def _run(self) -> None:
        while taken := self._take():
            for batch in batches(taken, lambda item: len(item.wave), self._batch_samples):
                self._work([item for item in batch if self._wanted(item)])

    def _take(self) -> list[_Waiting]:
        """Return a thread's share of what waits, once something does; nothing when the service stops."""
        with self._filled:
            while not self._queue and not self._closed:
                self._filled.wait()
            share = -(-len(self._queue) // self._threads)
            taken, self._queue = self._queue[:share], self._queue[share:]
            return taken

    def _wanted(self, item: _Waiting) -> bool:
        if item.call.deadline.over:
            item.embedding.cancel()
        return not item.embedding.cancelled()

    def _work(self, items: Sequence[_Waiting]) -> None:
        if not items:
            return
        self._observe(len(items))
        try:
            rows = self.embedder.embed(*pad([item.wave for item in items]))
        except BaseException as error:  # whatever it is, somebody waits for it
            if len(items) == 1:
                items[0].embedding.set_exception(error)
                return
            for item in items:  # alone, so that the others do not suffer for the one that cannot be embedded
                self._work([item])
            return
        for item, row in zip(items, rows, strict=True):
            item.embedding.set_result(row)


def batches(items: Sequence[_Waiting], samples: Callable[[_Waiting], int], most_samples: float) -> list[list[_Waiting]]:
    """Return the items in groups of similar lengths, at most `most_samples` with padding but for single ones."""
    groups: list[list[_Waiting]] = []
    for item in sorted(items, key=samples, reverse=True):
        longest = samples(groups[-1][0]) if groups else 0
        fits = groups and (len(groups[-1]) + 1) * longest <= most_samples and samples(item) >= LEAST_FULL * longest
        if fits:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


# What the routes share: the models behind their queues, the store, and threads to work in.

T = TypeVar("T")


class AppContext:
    """What the requests of a service share: models, store, noise, limits, threads.

    Args:
        verifier: the model that is served, with its store; stays open.
        settings: limits.
        beside: another model that `/v1/try` compares with. Its enrolments live in its own store, by default in memory.
        noise: what `/v1/try` adds; None for no noise.
    """

    def __init__(
        self, verifier: Verifier, settings: Settings, beside: Verifier | None, noise: Backgrounds | None
    ) -> None:
        self.settings = settings
        self.noise = noise
        self.metrics = Metrics()
        self._embedders: list[BatchingEmbedder] = []
        self.verifier = self._queued("served", verifier)
        self.beside = None if beside is None else self._queued("beside", beside)
        self._threads = ThreadPoolExecutor(settings.workers, "request")

    @property
    def store(self) -> Store:
        """Who is enrolled."""
        return self.verifier.store

    async def work(self, job: Callable[[], T]) -> T:
        """Run a job in a thread and return its result; a request that is given up leaves it to end by itself.

        Raises:
            whatever the job raises.
        """
        call = requests.current()

        def unless_given_up() -> T:
            call.deadline.check()
            return job()

        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, unless_given_up)

    def close(self) -> None:
        """End the threads when what is in hand is done."""
        self._threads.shutdown()
        for embedder in self._embedders:
            embedder.close()

    def _queued(self, name: str, verifier: Verifier) -> Verifier:
        settings, observe = self.settings, self.metrics.batch_recordings.labels(name).observe
        embedder = BatchingEmbedder(verifier.embedder, settings.batch_s, settings.model_threads, observe)
        self.metrics.watch_queue(name, lambda: embedder.waiting)
        self._embedders.append(embedder)
        return Verifier(
            embedder,
            verifier.backend,
            verifier.store,
            verifier.older,
            # the store is changed only by requests that were not given up, and these are then waited for
            writing=lambda: requests.current().deadline.writing(),
        )
