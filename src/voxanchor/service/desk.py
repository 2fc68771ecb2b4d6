"""What the routes share: the models behind their queues, the store, and threads to work in."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from voxanchor.enrolments.records import Decision
from voxanchor.enrolments.store import Store
from voxanchor.service import calls
from voxanchor.service.batching import BatchingEmbedder
from voxanchor.service.metrics import Metrics
from voxanchor.service.settings import Settings
from voxanchor.verification.verifier import Verifier

if TYPE_CHECKING:
    from voxanchor.audio.bank import NoiseBank

T = TypeVar("T")


class _Guarded:
    """A store whose changes are made only by requests that were not given up, and then waited for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def enroll(self, *arguments: Any) -> None:
        with calls.current().deadline.writing():
            self._store.enroll(*arguments)

    def delete(self, person: str) -> int:
        with calls.current().deadline.writing():
            return self._store.delete(person)

    def log(self, decision: Decision) -> None:
        with calls.current().deadline.writing():
            self._store.log(decision)


class Desk:
    """Where requests are worked on.

    Args:
        verifier: the model that is served, with its store; stays open.
        settings: limits.
        beside: another model that `/v1/try` compares with. Its enrolments live in its own store, by default in memory.
        noise: what `/v1/try` adds; None for no noise.
    """

    def __init__(
        self, verifier: Verifier, settings: Settings, beside: Verifier | None, noise: "NoiseBank | None"
    ) -> None:
        self.settings = settings
        self.noise = noise
        self.metrics = Metrics()
        self._embedders: list[BatchingEmbedder] = []
        self.verifier = self._queued("served", verifier, cast(Store, _Guarded(verifier.store)))
        self.beside = None if beside is None else self._queued("beside", beside, beside.store)
        self._threads = ThreadPoolExecutor(settings.workers, "request")

    @property
    def store(self) -> Store:
        """Who is enrolled."""
        return self.verifier.store

    async def work(self, job: Callable[[], T]) -> T:
        """Return what a job returns, run in a thread; a request that is given up leaves it, and it ends by itself.

        Raises:
            whatever the job raises.
        """
        call = calls.current()

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

    def _queued(self, name: str, verifier: Verifier, store: Store) -> Verifier:
        settings, observe = self.settings, self.metrics.batch_recordings.labels(name).observe
        embedder = BatchingEmbedder(verifier.embedder, settings.batch_s, settings.model_threads, observe)
        self.metrics.watch_queue(name, lambda: embedder.waiting)
        self._embedders.append(embedder)
        return Verifier(embedder, verifier.judge, store, verifier.older)
