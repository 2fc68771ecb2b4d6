"""Making a pack of the recordings of a manifest: decoded side by side, written in order, resumed where it stopped."""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from voxanchor.audio.pcm import Stored
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.pack import MANIFEST_FILE, PACK_FILE, SHARDS_FOLDER, Kind, Pack
from voxanchor.corpus.pack_shards import MB, Loaded, Plan, Written, clear_leftovers, plan, write, written
from voxanchor.corpus.utterance import Part, Utterance
from voxanchor.errors import AudioError, CorpusError, OutputError
from voxanchor.files import write_text
from voxanchor.progress import Advance, say, track
from voxanchor.types import SAMPLE_RATE

AHEAD_S = 1800.0
"""Sound decoded before it can be written, in seconds: with the longest recording, what bounds the memory."""

_AHEAD_EACH = 8  # recordings a worker may be ahead, where they are short


def write_pack(
    manifest: Manifest, folders: Sequence[Path], *, kind: Kind, corpora: int, shard_mb: int, workers: int
) -> Pack:
    """Write a manifest's recordings as a pack, or what is missing of it, and return it.

    Ids, speakers, sessions, recordings, durations and order stay, so what is trained on the pack equals what is trained
    on the files. The caller holds the folders (`voxanchor.outputs.claim`).

    Args:
        manifest: recordings whose durations are those `voxanchor.corpus.layouts.scan` found.
        folders: the first gets index and shards, all get shards in turn.
        kind: ``speech``; ``noise``, whose utterances have the kind of noise as session; or ``rooms``.
        corpora: how many folders the manifest was made from.
        shard_mb: largest size of a shard in MB (2**20 bytes).
        workers: threads that decode.

    Raises:
        RecipeError: a recording does not fit into a shard.
        CorpusError: a recording cannot be read, or is not as long as the manifest says.
        OutputError: there is no room, or a folder cannot be written to.
    """
    utterances = manifest.utterances
    names = [utterance.id for utterance in utterances]
    shards = plan(names, [_samples(utterance) for utterance in utterances], folders, shard_mb)
    done = [written(shard) for shard in shards]
    missing = [number for number, found in enumerate(done) if found is None]
    for folder in folders:
        clear_leftovers(folder / SHARDS_FOLDER)
    _refuse_too_full([shards[number] for number in missing], folders)
    if len(missing) < len(shards):
        say(f"{len(shards) - len(missing)} of {len(shards)} shards are there already")
    todo = [place for number in missing for place in _places(shards[number])]
    loading = closing(_load_ahead((utterances[place] for place in todo), workers))
    with track(f"packing into {folders[0]}", len(todo)) as advance, loading as loaded:
        for number in missing:
            places = _places(shards[number])
            own = _counted(islice(loaded, len(places)), advance)
            done[number] = write(shards[number], [names[place] for place in places], own)
    return _index(manifest, folders[0], shards, [found for found in done if found], kind, corpora)


def _index(
    manifest: Manifest, folder: Path, shards: Sequence[Plan], done: Sequence[Written], kind: Kind, corpora: int
) -> Pack:
    packed: list[Utterance] = []
    for shard, found in zip(shards, done, strict=True):
        path, first = str(shard.path), 0
        for place, length, gain, size in zip(
            _places(shard), shard.lengths, found.gains, found.source_bytes, strict=True
        ):
            source = manifest.utterances[place]
            stored = Stored(path, first, length, gain, size)
            packed.append(replace(source, parts=(Part(str(folder / source.id), stored=stored),)))
            first += length
    Manifest(tuple(packed), manifest.unusable, str(folder)).save(folder / MANIFEST_FILE)
    with (folder / MANIFEST_FILE).open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    listed = tuple(found.shard(_relative(shard.path, folder)) for shard, found in zip(shards, done, strict=True))
    pack = Pack(folder, kind, manifest.fingerprint, corpora, checksum, listed)
    write_text(folder / PACK_FILE, json.dumps(pack.as_json(), indent=1) + "\n")
    return pack


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _places(shard: Plan) -> range:
    return range(shard.first, shard.first + len(shard.lengths))


def _samples(utterance: Utterance) -> int:
    if utterance.speed != 1.0:
        raise CorpusError(f"{utterance.id}: a pack holds recordings at their own speed; add other speeds in the recipe")
    stated = [part.duration_s for part in utterance.parts if part.duration_s is not None]
    lengths = stated if len(stated) == len(utterance.parts) else [utterance.duration_s]
    return sum(round(seconds * SAMPLE_RATE) for seconds in lengths)


def _load(utterance: Utterance) -> Loaded:
    try:
        only = utterance.parts[0]
        if len(utterance.parts) > 1 or only.duration_s is not None:
            return Loaded(utterance.pcm(), 0)
        size = Path(only.path).stat().st_size if only.stored is None else only.stored.source_bytes
        return Loaded(utterance.pcm(), size)
    except (AudioError, OSError, MemoryError) as error:
        raise CorpusError(
            f"{AudioError.of(utterance.id, error)}\nIt could be read when the folder was scanned. Mend it and run the "
            "same command again; or, if it is gone for good, pack into a new folder"
        ) from None


def _counted(loaded: Iterable[Loaded], advance: Advance) -> Iterator[Loaded]:
    for item in loaded:
        yield item
        advance(1)


def _load_ahead(utterances: Iterable[Utterance], workers: int) -> Generator[Loaded, None, None]:
    """Yield the recordings in order; threads decode ahead, but only so far."""
    waiting: deque[tuple[Future[Loaded], float]] = deque()
    ahead_s = 0.0
    with ThreadPoolExecutor(workers, thread_name_prefix="pack") as threads:
        try:
            for utterance in utterances:
                waiting.append((threads.submit(_load, utterance), utterance.duration_s))
                ahead_s += utterance.duration_s
                while len(waiting) > 1 and (ahead_s > AHEAD_S or len(waiting) > _AHEAD_EACH * workers):
                    future, seconds = waiting.popleft()
                    ahead_s -= seconds
                    yield future.result()
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()


def _refuse_too_full(shards: Sequence[Plan], folders: Sequence[Path]) -> None:
    """Say before the work begins that a disk cannot hold its shards; folders on one disk share its room."""
    needed: dict[int, int] = {}
    for shard in shards:
        disk = shard.path.parents[1].stat().st_dev
        needed[disk] = needed.get(disk, 0) + shard.bytes
    for folder in folders:
        wanted, free = needed.get(folder.stat().st_dev, 0), shutil.disk_usage(folder).free
        if wanted > free:
            raise OutputError(
                f"{folder}: the disk has {free / MB:.0f} MB free, and {wanted / MB:.0f} MB are to be written to it. "
                "Make room, or spread the pack over more disks: --out may be given several times"
            )
