"""Embeddings of a corpus of any size: window by window, each into a shard of its own.

A shard is one file that appears whole or not at all, and it says everything about its window. So a window is done when
its shard lies there, and nothing else needs to be kept in step with it.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from voxanchor.corpus.manifest import Manifest, Utterance, refuse_foreign
from voxanchor.errors import AudioError, CorpusError, ModelError, TooLongError, VoxanchorError
from voxanchor.evaluation.embed import forward, read_batches
from voxanchor.files import write_bytes, write_text
from voxanchor.models import registry
from voxanchor.models.batches import by_length, pad, refuse_short
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.registry import Embedder
from voxanchor.runtime import Advance, device_named, keep_freed_memory, track
from voxanchor.types import SAMPLE_RATE, Embeddings, Waveform

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

FORMAT = "voxanchor-embeddings-shard-1"
METADATA_KEY = "voxanchor"
"""All metadata is one JSON text: safetensors writes several entries in an order that changes from run to run."""


@dataclass(frozen=True)
class Failure:
    """A recording without an embedding: its id (the path of one that never became an utterance), and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class Shard:
    """Embeddings of the recordings of a window, in its order.

    Attributes:
        ids: utterance ids, n of them.
        speakers: speaker of each; an empty name where it is not known.
        embeddings: (n, D) float32 unit vectors.
        failures: the other recordings of the window.
    """

    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    embeddings: Embeddings
    failures: tuple[Failure, ...]

    def save(self, path: Path, model: Mapping[str, str]) -> None:
        """Write the shard as safetensors.

        Args:
            path: of the file.
            model: what the rows were made with, for a reader to compare.

        Raises:
            OutputError: the file cannot be written.
        """
        described = {
            "format": FORMAT,
            **model,
            "ids": self.ids,
            "speakers": self.speakers,
            "failures": [asdict(failure) for failure in self.failures],
        }
        write_bytes(path, save({"embeddings": self.embeddings}, {METADATA_KEY: json.dumps(described)}))


@dataclass(frozen=True)
class Summary:
    """What a shard holds: its number of rows, and the failures of its window."""

    rows: int
    failures: tuple[Failure, ...]

    @classmethod
    def read(cls, path: Path) -> "Summary":
        """Return the summary of a shard; the embeddings stay on disk.

        Raises:
            CorpusError: the file is missing, damaged or no shard.
        """
        try:
            with safe_open(path, "numpy") as file:
                described: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
                rows, _ = file.get_slice("embeddings").get_shape()
            if described["format"] != FORMAT or len(described["ids"]) != rows:
                raise ValueError(f"{rows} rows, {len(described['ids'])} ids, format {described['format']}")
            return cls(rows, tuple(Failure(**failure) for failure in described["failures"]))
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise CorpusError(
                f"{path}: not a shard of embeddings ({error}). Remove it and start the same command again: it makes "
                "this shard anew."
            ) from None


# A manifest of any length cut into windows, each a short manifest of its own, so that nobody holds the whole one.

_PLAN_FILE = "plan.json"


def window_path(folder: Path, number: int) -> Path:
    """Return where a window's manifest lies."""
    return folder / f"{number:05d}.jsonl"


def manifest_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits over the bytes of a manifest file.

    Raises:
        CorpusError: the file cannot be read, or is another toolkit's.
    """
    refuse_foreign(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CorpusError(f"manifest {path} cannot be read: {error}") from None


def cut(manifest: Path, folder: Path, size: int) -> list[int]:
    """Return the number of utterances in each window, and write the windows to `folder`; once written they are reused.

    Args:
        manifest: a file that `Manifest.save` wrote.
        folder: for the windows; belongs to this manifest and `size`.
        size: lines of a window: utterances, and recordings that were left out.

    Raises:
        CorpusError: a manifest without recordings, or with a line that cannot be understood. The folder is removed.
    """
    plan = folder / _PLAN_FILE
    if plan.exists():
        counts: list[int] = json.loads(plan.read_text(encoding="utf-8"))
        return counts
    try:
        counts = _cut(manifest, folder, size)
    except CorpusError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write_text(plan, json.dumps(counts))
    return counts


def _cut(manifest: Path, folder: Path, size: int) -> list[int]:
    counts: list[int] = []
    try:
        with manifest.open("rb") as file, track(f"reading {manifest}, bytes", manifest.stat().st_size) as advance:
            heading = file.readline()
            while lines := list(islice(file, size)):
                path = window_path(folder, len(counts))
                write_bytes(path, heading + b"".join(lines))
                counts.append(_count(path, manifest, len(counts) * size + 1))
                advance(sum(map(len, lines)))
    except OSError as error:
        raise CorpusError(f"manifest {manifest} cannot be read: {error}") from None
    if not counts:
        raise CorpusError(f"manifest {manifest} names no recordings; scan the corpus again")
    return counts


def _count(window: Path, manifest: Path, before: int) -> int:
    try:
        return len(Manifest.load(window))
    except CorpusError as error:
        where = f"{manifest}, counting its line {before} as line 1" if before > 1 else f"{manifest}"
        raise CorpusError(str(error).replace(str(window), where)) from None


# What is done to a window.

READERS = 2
"""Threads that read ahead of the model, at least: one decodes while the other waits for the disk."""

_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Job:
    """What is done to every window of a corpus.

    Attributes:
        model: reference of the model.
        fingerprint: of the model.
        windows: folder with the windows of the manifest.
        shards: folder for the shards.
        precision: ``float32`` or ``bfloat16``: the arithmetic of the model's matrix products; an exported
            model has its own.
        longest_s: a longer recording is a failure: the memory a model takes grows with the length.
        device: where the model runs, as a user names it.
    """

    model: str
    fingerprint: str
    windows: Path
    shards: Path
    precision: str
    longest_s: float
    device: str = "auto"

    def shard(self, window: int) -> Path:
        """Return where the shard of a window lies, or will lie."""
        return self.shards / f"embeddings-{window:05d}.safetensors"

    def do(self, encoder: Embedder, window: int, advance: Advance) -> None:
        """Embed a window and write its shard."""
        manifest = Manifest.load(window_path(self.windows, window))
        shard = embed_window(encoder, manifest, advance, precision=self.precision, longest_s=self.longest_s)
        shard.save(self.shard(window), {"model": self.fingerprint, "precision": self.precision})


def embed_window(
    encoder: Embedder,
    manifest: Manifest,
    advance: Advance,
    *,
    precision: str = "float32",
    longest_s: float = float("inf"),
) -> Shard:
    """Return the embeddings of a manifest's utterances in their order, and the recordings that have none.

    Batched by length, read by threads ahead of the model. A recording that cannot be read, is silent, too short or too
    long, or has no finite embedding is among the failures, after those the manifest itself left out.

    Args:
        encoder: in evaluation mode, wherever it is to compute.
        manifest: as many utterances as one shard is to hold.
        advance: called with the number of recordings done since the last call.
        precision: ``float32`` or ``bfloat16``; an exported model has its own.
        longest_s: length of the longest recording that is embedded.
    """
    utterances = manifest.utterances
    embeddings = np.zeros((len(utterances), encoder.embedding_dim), np.float32)
    reasons: dict[int, str] = {}

    def read(utterance: Utterance) -> Waveform:
        return _read(utterance, encoder.min_samples, longest_s)

    readers = max(READERS, torch.get_num_threads())
    for places, loaded in read_batches(utterances, read, readers):
        waves: list[Waveform] = []
        rows: list[int] = []
        for place, wave in zip(places, loaded, strict=True):
            if isinstance(wave, VoxanchorError):
                reasons[place] = _reason(utterances[place], wave)
            else:
                rows.append(place)
                waves.append(wave)
        # by what was read, not by what the manifest states: a file that grew meanwhile must not burst the memory
        for batch in by_length([len(wave) / SAMPLE_RATE for wave in waves]):
            # the grid spares memory in the library under torch alone
            on_grid = not isinstance(encoder, ExportedEncoder)
            made = forward(encoder, *pad([waves[i] for i in batch], on_grid=on_grid), precision)
            embeddings[[rows[i] for i in batch]] = made
        advance(len(places))
    lengths = np.linalg.norm(embeddings, axis=1)
    for place in np.flatnonzero(~(np.abs(lengths - 1.0) < _UNIT_TOLERANCE)).tolist():
        reasons.setdefault(place, "the model gives no embedding of finite length for it")
    kept = [place for place in range(len(utterances)) if place not in reasons]
    left_out = [Failure(item.path, item.reason) for item in manifest.unusable]
    return Shard(
        ids=tuple(utterances[place].id for place in kept),
        speakers=tuple(utterances[place].speaker for place in kept),
        embeddings=embeddings[kept],
        failures=(*left_out, *(Failure(utterances[place].id, reasons[place]) for place in sorted(reasons))),
    )


def _read(utterance: Utterance, min_samples: int, longest_s: float) -> Waveform:
    if utterance.duration_s > longest_s:
        raise TooLongError.beyond(utterance.id, utterance.duration_s, longest_s)
    wave = utterance.read()
    refuse_short(utterance.id, wave, min_samples)
    if len(wave) > longest_s * SAMPLE_RATE:
        raise TooLongError.beyond(utterance.id, len(wave) / SAMPLE_RATE, longest_s)
    if not wave.any():
        raise AudioError(f"{utterance.id}: silent, so there is no voice to embed. Check the recording.")
    return wave


def _reason(utterance: Utterance, error: VoxanchorError) -> str:
    """Return what an error says, without the name of the recording in front."""
    text = str(error).removeprefix(f"{utterance.id}: ")
    return text.removeprefix(f"{utterance.parts[0].path}: ") if len(utterance.parts) == 1 else text


# The windows of a bulk job, done by this process or by several.

_POLL_S = 0.2
"""How often the parent looks at what its workers have done."""


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
        _do_in_processes(job, windows, processes, advance)
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


def _do_in_processes(job: Job, windows: Sequence[int], processes: int, advance: Advance) -> None:
    # spawned, not forked: a fork copies locks that torch's threads may hold at that moment
    context = multiprocessing.get_context("spawn")
    ranks, done, shown = context.Value("i", 0), context.Value("q", 0), 0
    threads = max(1, torch.get_num_threads() // processes)
    others, workers = multiprocessing.active_children(), list[BaseProcess]()
    with ProcessPoolExecutor(processes, context, _begin, (job, ranks, done, threads)) as pool:
        try:
            waiting = {pool.submit(_do, window) for window in windows}
            workers = [process for process in multiprocessing.active_children() if process not in others]
            while waiting:
                finished, waiting = wait(waiting, _POLL_S, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                # read without its lock, which a worker that was killed may hold for ever
                count = done.get_obj().value
                advance(count - shown)
                shown = count
        except BrokenProcessPool:
            raise VoxanchorError(
                f"a worker process {_ending(workers)}. What is finished is kept: start the same command again to "
                "resume, with fewer --processes if memory ran out."
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()  # nobody waits for a window whose job has ended
            raise


_worker: tuple[Job, int, "Synchronized[int]"]
"""In a worker process: what it does, its number, and the count of recordings that all workers have done."""


def _begin(job: Job, ranks: "Synchronized[int]", done: "Synchronized[int]", threads: int) -> None:
    """Make this process a worker. What can fail is left to `_do`: the pool passes on no error from here."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)
    with ranks.get_lock():
        _worker = job, ranks.value, done
        ranks.value += 1


def _end_with_parent() -> None:
    """End this process when its parent is gone: a worker of a pool would wait for the next window for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_encoder = cache(_load)


def _do(window: int) -> None:
    job, rank, done = _worker

    def advance(count: int) -> None:
        with done.get_lock():
            done.value += count

    job.do(_encoder(job, rank), window, advance)


def _ending(workers: Sequence[BaseProcess]) -> str:
    """Return how the worker ended that broke the pool, which then ended the others by SIGTERM."""
    for process in workers:
        process.join()
    codes = (process.exitcode or 0 for process in workers)
    status = min(codes, key=lambda code: (code in (0, -signal.SIGTERM), code), default=0)
    if status >= 0:
        return f"ended with status {status}" if status else "ended unexpectedly"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
