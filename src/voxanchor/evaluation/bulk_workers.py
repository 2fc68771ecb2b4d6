"""The windows of a bulk job done here, or by several processes that ask for one after another.

A worker and its parent talk through one pipe. From the worker: a number of recordings done, `NEXT` when it wants a
window, or the error that ended it. From the parent: a window, or `NEXT` back when there is none left. Either end sees
the pipe close when the other process dies, so no worker outlives the job and no death goes unnoticed.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

import torch

from voxanchor.errors import ModelError, VoxanchorError
from voxanchor.evaluation.bulk import Job
from voxanchor.heap import keep_freed_memory
from voxanchor.models import registry
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.precision import device_named
from voxanchor.models.registry import Embedder
from voxanchor.progress import Advance

NEXT = "next"

Pipe: TypeAlias = Any
"""One end of a pipe, whose class differs between systems."""


def device_of(rank: int, asked: str) -> torch.device:
    """Return where a process computes: as asked; ``auto`` is the accelerators in turn, the processor without any.

    Raises:
        RecipeError: no such device here.
    """
    if asked != "auto":
        return device_named(asked)
    if torch.cuda.is_available():
        return torch.device("cuda", rank % torch.cuda.device_count())
    return torch.device("cpu")


def do_windows(job: Job, windows: Sequence[int], processes: int, advance: Advance) -> None:
    """Do these windows of a job; every shard that is finished stays, however this ends.

    Args:
        job: what to do.
        windows: their numbers.
        processes: how many work at once; they share the processor's threads, and take the accelerators in turn.
        advance: called with the number of recordings done since the last call.

    Raises:
        VoxanchorError: what a worker met, or that a worker died.
    """
    processes = min(processes, len(windows))
    if processes > 1:
        _Team(job, windows, processes, advance).work()
    elif windows:
        encoder = _load(job, 0)
        for window in windows:
            job.do(encoder, window, advance)


def _load(job: Job, rank: int) -> Embedder:
    encoder = registry.load_embedder(job.model, job.device)
    if encoder.fingerprint != job.fingerprint:
        raise ModelError(
            f"{job.model}: gave other weights when it was loaded again. Do not change a model while it is used; code "
            "that makes one must give the same weights in every call."
        )
    return encoder if isinstance(encoder, ExportedEncoder) else encoder.to(device_of(rank, job.device))


def _serve(parent: Pipe, job: Job, rank: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends its workers
    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        encoder = _load(job, rank)
        parent.send(NEXT)
        while isinstance(window := parent.recv(), int):
            job.do(encoder, window, parent.send)
            parent.send(NEXT)
    except VoxanchorError as error:
        parent.send(error)
    except (EOFError, ConnectionError):
        return  # the parent is gone, and so is the wish for what this window would have become


class _Team:
    """Workers in processes of their own, handed one window after another."""

    def __init__(self, job: Job, windows: Sequence[int], processes: int, advance: Advance) -> None:
        self.waiting = deque(windows)
        self.advance = advance
        self.workers: dict[Pipe, BaseProcess] = {}
        # spawned, not forked: a fork copies locks that torch's threads may hold at that moment
        self.context = multiprocessing.get_context("spawn")
        self.arguments = [(job, rank, max(1, torch.get_num_threads() // processes)) for rank in range(processes)]

    def work(self) -> None:
        """Return when all windows are done.

        Raises:
            VoxanchorError: what a worker met, or that a worker died.
        """
        try:
            for arguments in self.arguments:
                self._start(arguments)
            while self.workers:
                for connection in wait(list(self.workers)):
                    self._listen(connection)
        finally:
            for process in self.workers.values():
                process.terminate()
            for process in self.workers.values():
                process.join()

    def _start(self, arguments: tuple[Job, int, int]) -> None:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
        process.start()
        theirs.close()  # the worker's copy must be the only one, or its death would not close the pipe
        self.workers[ours] = process

    def _listen(self, connection: Pipe) -> None:
        try:
            said = connection.recv()
            if isinstance(said, int):
                self.advance(said)
            elif isinstance(said, VoxanchorError):
                raise said
            else:
                connection.send(self.waiting.popleft() if self.waiting else NEXT)
        except (EOFError, ConnectionError):
            self._buried(connection)

    def _buried(self, connection: Pipe) -> None:
        process = self.workers[connection]
        process.join()
        if process.exitcode:
            raise VoxanchorError(
                f"worker process {process.pid} {_ending(process.exitcode)}. What is finished is kept: start the same "
                "command again to resume, with fewer --processes if memory ran out."
            )
        del self.workers[connection]
        connection.close()


def _ending(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"
