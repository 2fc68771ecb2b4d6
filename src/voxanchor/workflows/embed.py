"""A corpus of any size to embeddings on disk, in shards, by several processes, resumable at any moment."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from voxanchor.audio.downmix import Channel
from voxanchor.corpus.layouts import scan
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.evaluation.bulk import Failure, Job, Summary, cut, device_of, do_windows, manifest_fingerprint
from voxanchor.files import replacing, write_text
from voxanchor.models import registry
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.registry import Embedder
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import Precision, counted, log_line, resolve, track, world

INDEX_FILE = "index.json"
FAILURES_FILE = "failures.jsonl"
MANIFEST_FILE = "manifest.jsonl"
WINDOWS_FOLDER = "windows"

SHARD_SIZE = 4096
"""Recordings of a shard. A worker that is killed loses at most one: minutes of work."""

LONGEST_S = 600.0
"""ECAPA-512 takes about 4 MB of memory per second of one recording."""


def embed_corpus(
    model: str,
    out: Path,
    *,
    manifest: Path | None = None,
    speech: str = "",
    layout: str = "auto",
    channel: Channel = "mix",
    shard_size: int = SHARD_SIZE,
    processes: int = 1,
    precision: Precision = "float32",
    longest_s: float = LONGEST_S,
    max_unusable_share: float = 0.2,
    device: str = "auto",
) -> dict[str, Any]:
    """Embed every recording of a manifest or a folder into shards in `out`, and return the index, as written there.

    Shards that are finished are never done again, and the result does not depend on where the job was interrupted.

    Args:
        model: reference of the model.
        out: folder that gets the shards, ``failures.jsonl`` and, at the end, ``index.json``.
        manifest: a file that `Manifest.save` wrote; only a window of it is in memory at any time.
        speech: instead of a manifest, a folder of recordings; it is scanned once, into ``manifest.jsonl`` in `out`.
        layout: of that folder.
        channel: which channel of its recordings is used; a manifest names it for each recording.
        shard_size: recordings of a shard.
        processes: workers, each with its share of the processor or an accelerator in turn.
        precision: of the model's matrix products; embeddings made in different ones differ a little. An exported model
            has its own.
        longest_s: longer recordings are failures; it bounds the memory.
        max_unusable_share: largest share of failures, 0 to 1, that is no error. Everything is written first.
        device: where the model runs, as in `voxanchor.load`; under ``auto`` the workers take accelerators in turn.

    Raises:
        RecipeError: arguments that make no sense, or no such device here.
        CorpusError: a manifest or folder without recordings, or too large a share of failures.
        ModelError: no such model.
        OutputError: `out` holds something else.
        VoxanchorError: a worker process died; the same call resumes.
    """
    if (manifest is None) == (not speech):
        raise RecipeError("embed: name either a manifest or a folder of speech")
    if shard_size < 1 or processes < 1 or not longest_s > 0 or not 0 <= max_unusable_share <= 1:
        raise RecipeError(
            "embed: shard size and processes must be at least 1, the longest recording longer than 0 s, and the share "
            "of unusable recordings from 0 to 1"
        )
    if world() > 1:
        raise RecipeError("embed: makes its processes itself: start it once, without torchrun, with --processes N")
    encoder = registry.load_embedder(model, device)
    chosen = _precision(encoder, precision, device)
    source = {"speech": speech, "layout": layout} if manifest is None else {"manifest": manifest_fingerprint(manifest)}
    if channel != "mix":
        if manifest is not None:
            raise RecipeError("embed: a manifest names the channel of each recording; --channel goes with --speech")
        source["channel"] = str(channel)
    identity = {
        **source, "model": encoder.fingerprint, "precision": chosen, "shard_size": shard_size, "longest_s": longest_s,
    }  # fmt: skip
    if isinstance(encoder, ExportedEncoder):
        identity["runtime"] = "onnxruntime"  # the last digits are others than torch's
    with lock_run_dir(out, "embed", identity):
        _sweep(out)
        if manifest is None:
            manifest = _scanned(speech, layout, channel, out / MANIFEST_FILE)
        job = Job(model, encoder.fingerprint, out / WINDOWS_FOLDER, out, chosen, longest_s, device)
        index = _finished(out)
        if index is None:
            counts = cut(manifest, job.windows, shard_size)
            try:
                _work(job, counts, processes)
            finally:
                shards = _write_failures(out / FAILURES_FILE, job, len(counts))
            index = _index(job, shards, encoder.embedding_dim, manifest)
            write_text(out / INDEX_FILE, json.dumps(index, indent=2) + "\n")
            shutil.rmtree(job.windows)
        _judge(index, out, max_unusable_share)
    return index


def _precision(encoder: Embedder, asked: Precision, device: str) -> str:
    if not isinstance(encoder, ExportedEncoder):
        return resolve(asked, device_of(0, device))
    if asked == "bfloat16":
        raise RecipeError(
            f"embed: an exported model computes in its own precision, {encoder.precision}. Leave --precision out."
        )
    return encoder.precision


def _scanned(speech: str, layout: str, channel: Channel, path: Path) -> Path:
    if not path.exists():
        # what cannot be used is judged at the end, with what cannot be embedded
        found = scan(speech, layout, max_unusable_share=1.0, channel=channel)
        log_line(f"{speech}: {found.describe()}")
        found.save(path)
    return path


def _sweep(out: Path) -> None:
    """Remove what a killed process left half written; the folder is ours alone, so nobody is writing now."""
    for path in out.glob(".embeddings-*.tmp.safetensors"):
        path.unlink(missing_ok=True)


def _finished(out: Path) -> dict[str, Any] | None:
    path = out / INDEX_FILE
    if not path.exists():
        return None
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if all((out / name).exists() for name in (FAILURES_FILE, *(shard["file"] for shard in index["shards"]))):
        log_line(f"{out}: finished before")
        return index
    return None


def _work(job: Job, counts: list[int], processes: int) -> None:
    left = [window for window in range(len(counts)) if not job.shard(window).exists()]
    if len(left) < len(counts):
        log_line(f"{len(counts) - len(left)} of {len(counts)} shards were finished before")
    with track("embedding", sum(counts[window] for window in left)) as advance:
        do_windows(job, left, processes, advance)


def _write_failures(path: Path, job: Job, windows: int) -> list[dict[str, Any]]:
    """Write what failed in the shards that are finished, and return what the index says of each of these."""
    shards = []
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for shard in filter(Path.exists, map(job.shard, range(windows))):
            found = Summary.read(shard)
            file.writelines(json.dumps(asdict(failure)) + "\n" for failure in found.failures)
            shards.append({"file": shard.name, "embeddings": found.rows, "failures": len(found.failures)})
    return shards


def _index(job: Job, shards: Sequence[Mapping[str, Any]], dimension: int, manifest: Path) -> dict[str, Any]:
    return {
        "format": "voxanchor-embeddings-index-1",
        "model": job.fingerprint,
        "dimension": dimension,
        "precision": job.precision,
        "manifest": manifest_fingerprint(manifest),
        "embeddings": sum(shard["embeddings"] for shard in shards),
        "failures": sum(shard["failures"] for shard in shards),
        "shards": shards,
    }


def _judge(index: Mapping[str, Any], out: Path, max_unusable_share: float) -> None:
    failures, total = index["failures"], index["embeddings"] + index["failures"]
    if not failures:
        return
    with (out / FAILURES_FILE).open(encoding="utf-8") as file:
        examples = [Failure(**json.loads(line)) for line, _ in zip(file, range(3), strict=False)]
    listed = "".join(f"\n  {failure.id}: {failure.reason}" for failure in examples)
    found = f"{failures} of {total} recordings have no embedding; {out / FAILURES_FILE} says why, for example:{listed}"
    if failures > max_unusable_share * total:
        kept = counted(total - failures, "embedding")
        raise CorpusError(
            f"{found}\nWritten: {kept}. Mend or remove these recordings and embed "
            f"into a new folder, or allow a larger share than {max_unusable_share:g}."
        )
    log_line(found)
