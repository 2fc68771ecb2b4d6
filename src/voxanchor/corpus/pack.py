"""Packs: a corpus as a few large WAV files with an index, opened at once and mapped, never decoded.

A pack is a folder with ``pack.json`` (what it is), ``manifest.jsonl`` (every recording, and where in which shard it
lies) and shards, ``shards/00000.wav`` and so on, here or on other disks. docs/formats.md says what is in each.
"""

import hashlib
import json
import shutil
import struct
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from voxanchor.audio.pcm import Pcm, Stored
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.errors import AudioError, CorpusError, OutputError, RecipeError
from voxanchor.files import replacing, write_text, writing
from voxanchor.outputs import IDENTITY_FILE
from voxanchor.runtime import Advance, log_line, track
from voxanchor.types import SAMPLE_RATE

FORMAT = "voxanchor-pack"
SCHEMA_VERSION = 1
PACK_FILE = "pack.json"
MANIFEST_FILE = "manifest.jsonl"
SHARDS_FOLDER = "shards"
JOB_KIND = "data pack"
"""What the job is called in ``run.json`` of every folder that a pack is spread over."""

HEADER_BYTES = 44
"""Length of a shard's WAV header."""

Kind = Literal["speech", "noise", "rooms"]


@dataclass(frozen=True)
class Shard:
    """One file of a pack.

    Attributes:
        file: relative to the pack's folder, or absolute when it lies on another disk.
        samples: how many 16-bit samples it holds.
        sha256: of the whole file, in hexadecimal digits.
    """

    file: str
    samples: int
    sha256: str

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return HEADER_BYTES + 2 * self.samples


@dataclass(frozen=True)
class Pack:
    """What ``pack.json`` says.

    Attributes:
        kind: ``speech``, ``noise`` or ``rooms`` (impulse responses).
        fingerprint: of the manifest it was made from.
        corpora: how many folders it was made from.
        manifest_sha256: of ``manifest.jsonl``, in hexadecimal digits.
        shards: in the order of the manifest.
    """

    folder: Path
    kind: Kind
    fingerprint: str
    corpora: int
    manifest_sha256: str
    shards: tuple[Shard, ...]

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    def path(self, shard: Shard) -> Path:
        """Where a shard lies."""
        return self.folder / shard.file

    def problem(self, shard: Shard) -> str:
        """Return what is wrong with a shard at first sight, its size; nothing when it is as it should be."""
        try:
            size = self.path(shard).stat().st_size
        except OSError as error:
            return f"cannot be opened ({error.strerror})"
        return "" if size == shard.bytes else f"has {size} bytes instead of {shard.bytes}"

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``pack.json``."""
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "corpora": self.corpora,
            "manifest_sha256": self.manifest_sha256,
            "shards": [vars(shard) for shard in self.shards],
        }


def is_pack(folder: Path | str) -> bool:
    """Return whether a folder is a pack.

    Raises:
        CorpusError: it is one that is not finished, or holds only shards of one that lies elsewhere.
    """
    folder = Path(folder)
    try:
        if (folder / PACK_FILE).is_file():
            return True
        job = json.loads((folder / IDENTITY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if isinstance(job, dict) and job.get("kind") == JOB_KIND:
        raise CorpusError(
            f"{folder}: is a pack that is not finished, or holds only shards of one. Run the same 'voxanchor data "
            f"pack' again to finish it, or give its first folder, which holds {PACK_FILE}"
        )
    return False


def read_pack(folder: Path | str) -> Pack:
    """Return what a pack says it holds; its shards are not looked at.

    Raises:
        CorpusError: ``pack.json`` is missing or cannot be understood.
    """
    folder = Path(folder)
    path = folder / PACK_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["format"], record["schema_version"]) != (FORMAT, SCHEMA_VERSION):
            raise ValueError(f"this is no pack of schema version {SCHEMA_VERSION}")
        if record["kind"] not in get_args(Kind):
            raise ValueError(f"a pack of {record['kind']}")
        shards = tuple(Shard(str(s["file"]), int(s["samples"]), str(s["sha256"])) for s in record["shards"])
        return Pack(
            folder,
            record["kind"],
            str(record["fingerprint"]),
            int(record["corpora"]),
            str(record["manifest_sha256"]),
            shards,
        )
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}). Give the folder of a pack.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: is damaged ({error}). {remedy(folder)}") from None


def read_manifest(pack: Pack) -> Manifest:
    """Return the recordings of a pack; no sound is read, and nothing is looked at but the sizes of the shards.

    Raises:
        CorpusError: a shard is missing or has another size, or the manifest cannot be understood.
    """
    problems = [f"\n  {pack.path(shard)}: {problem}" for shard in pack.shards if (problem := pack.problem(shard))]
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CorpusError(
            f"{pack.folder}: {len(problems)} of the pack's {len(pack.shards)} shards are damaged:"
            f"{''.join(problems[:5])}{more}\n{remedy(pack.folder)}"
        )
    try:
        return Manifest.load(pack.folder / MANIFEST_FILE, root=pack.folder)
    except CorpusError as error:
        raise CorpusError(f"{error}\n{remedy(pack.folder)}") from None


def remedy(folder: Path) -> str:
    """Return the sentence that says what to do about a damaged pack."""
    return (
        "Put back a copy of what is damaged; or remove it and run the 'voxanchor data pack' that made the pack again "
        f"({folder / IDENTITY_FILE} says of what): it makes what is missing"
    )


# Whether a pack still is what was written, byte by byte.

_CHUNK = 2**20


@dataclass(frozen=True)
class Damage:
    """A file of a pack that is not what was written, and in what way."""

    file: str
    problem: str


def check_pack(pack: Pack) -> list[Damage]:
    """Return the damaged files of a pack; every byte of it is read."""
    found: list[Damage] = []
    with track(f"checking {pack.folder}, MB", sum(shard.bytes // _CHUNK for shard in pack.shards)) as advance:
        for shard in pack.shards:
            problem = pack.problem(shard) or _content(pack.path(shard), shard, advance)
            if problem:
                found.append(Damage(str(pack.path(shard)), problem))
    path = pack.folder / MANIFEST_FILE
    try:
        if _sha256(path) != pack.manifest_sha256:
            found.append(Damage(str(path), _CHANGED))
    except OSError as error:
        found.append(Damage(str(path), f"cannot be opened ({error.strerror})"))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_CHANGED = "is not what was written: its checksum differs"


def _content(path: Path, shard: Shard, advance: Advance) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                advance(len(chunk) // _CHUNK)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if digest.hexdigest() == shard.sha256 else _CHANGED


# Shards of a pack: which recordings go into which, and writing one so that a finished one is never made again.

MB = 2**20
LARGEST_MB = 4095
"""A WAV file counts its bytes in 32 bits."""


@dataclass(frozen=True)
class Plan:
    """One shard to be.

    Attributes:
        path: where it goes.
        first: place of its first recording in the manifest.
        lengths: samples of its recordings.
    """

    path: Path
    first: int
    lengths: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Samples of all its recordings."""
        return sum(self.lengths)

    @property
    def places(self) -> range:
        """Places of its recordings in the manifest."""
        return range(self.first, self.first + len(self.lengths))

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return HEADER_BYTES + 2 * self.samples


@dataclass(frozen=True)
class Loaded:
    """A recording on its way into a shard, and the size of the file it came from."""

    pcm: Pcm
    source_bytes: int


@dataclass(frozen=True)
class Written:
    """What a finished shard holds; kept as JSON beside it.

    Attributes:
        samples: of all its recordings.
        sha256: of the file.
        gains: of each recording, as of `Pcm`.
        source_bytes: size of the file each was packed from.
    """

    samples: int
    sha256: str
    gains: tuple[float, ...]
    source_bytes: tuple[int, ...]


def plan(names: Sequence[str], lengths: Sequence[int], folders: Sequence[Path], shard_mb: int) -> list[Plan]:
    """Return the shards that recordings fill in their order, none split; the folders take turns.

    Args:
        names: of the recordings, for a message.
        lengths: samples of each.
        folders: where the shards go, each into its folder ``shards``.
        shard_mb: largest size of a shard in MB (2**20 bytes).

    Raises:
        RecipeError: a size no WAV file can have, or a recording longer than a shard.
    """
    if not 1 <= shard_mb <= LARGEST_MB:
        raise RecipeError(f"--shard-mb {shard_mb}: a shard has 1 to {LARGEST_MB} MB")
    most = (shard_mb * MB - HEADER_BYTES) // 2
    groups: list[list[int]] = [[]]
    used = 0
    for name, length in zip(names, lengths, strict=True):
        if length > most:
            needed = -(-(2 * length + HEADER_BYTES) // MB)
            advice = f"give --shard-mb {needed}" if needed <= LARGEST_MB else f"cut it: {LARGEST_MB} MB is the most"
            raise RecipeError(
                f"{name}: {length / SAMPLE_RATE:.0f} s do not fit into a shard of {shard_mb} MB; {advice}"
            )
        if used + length > most:
            groups.append([])
            used = 0
        groups[-1].append(length)
        used += length
    plans: list[Plan] = []
    first = 0
    for number, group in enumerate(groups):
        path = folders[number % len(folders)] / SHARDS_FOLDER / f"{number:05d}.wav"
        plans.append(Plan(path, first, tuple(group)))
        first += len(group)
    return plans


def written(shard: Plan) -> Written | None:
    """Return what a finished shard holds; None when it has to be made.

    The record is written after the shard, so a job that was killed between the two makes the shard again.
    """
    try:
        record = json.loads(_record(shard.path).read_text(encoding="utf-8"))
        found = Written(
            int(record["samples"]), str(record["sha256"]), tuple(record["gains"]), tuple(record["source_bytes"])
        )
        whole = shard.path.stat().st_size == shard.bytes
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if whole and found.samples == shard.samples and len(found.gains) == len(shard.lengths) else None


def write(shard: Plan, names: Sequence[str], loaded: Iterable[Loaded]) -> Written:
    """Write a shard and its record, and return what it holds.

    Args:
        shard: where, and how much.
        names: of its recordings, for a message.
        loaded: its recordings; no more than one is held here.

    Raises:
        CorpusError: a recording is not as long as planned.
        OutputError: the disk is full, or cannot be written to.
    """
    gains: list[float] = []
    sizes: list[int] = []
    digest = hashlib.sha256()
    with writing(shard.path):
        with replacing(shard.path) as temporary:
            with temporary.open("wb") as file:
                header = _header(shard.samples)
                file.write(header)
                digest.update(header)
                for name, length, item in zip(names, shard.lengths, loaded, strict=True):
                    if len(item.pcm) != length:
                        raise CorpusError(
                            f"{name}: has {len(item.pcm)} samples now and had {length} before. The recordings changed: "
                            "pack them into a new folder"
                        )
                    data = np.ascontiguousarray(item.pcm.samples, dtype="<i2").view(np.uint8).data
                    file.write(data)
                    digest.update(data)
                    gains.append(item.pcm.gain)
                    sizes.append(item.source_bytes)
            found = Written(shard.samples, digest.hexdigest(), tuple(gains), tuple(sizes))
        write_text(_record(shard.path), json.dumps(asdict(found)) + "\n")
    return found


def clear_leftovers(folder: Path) -> None:
    """Remove what jobs that were killed left half written in a folder of shards."""
    for leftover in folder.glob(".*.tmp.*"):
        leftover.unlink(missing_ok=True)


def _record(path: Path) -> Path:
    return path.with_suffix(".json")


def _header(samples: int) -> bytes:
    size = 2 * samples
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", HEADER_BYTES - 8 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)


# Making a pack of the recordings of a manifest: decoded side by side, written in order, resumed where it stopped.

AHEAD_S = 1800.0
"""Sound decoded before it can be written, in seconds: with the longest recording, what bounds the memory."""

_AHEAD_EACH = 8  # recordings a worker may be ahead, where they are short


def write_pack(
    manifest: Manifest, folders: Sequence[Path], *, kind: Kind, corpora: int, shard_mb: int, workers: int
) -> Pack:
    """Write a manifest's recordings as a pack, or what is missing of it, and return it.

    Ids, speakers, sessions, recordings, durations and order stay, so what is trained on the pack equals what is trained
    on the files. The caller holds the folders (`voxanchor.outputs.lock_run_dir`).

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
        log_line(f"{len(shards) - len(missing)} of {len(shards)} shards are there already")
    todo = [place for number in missing for place in shards[number].places]
    loading = closing(_load_ahead((utterances[place] for place in todo), workers))
    with track(f"packing into {folders[0]}", len(todo)) as advance, loading as loaded:
        for number in missing:
            places = shards[number].places
            own = _counted(islice(loaded, len(places)), advance)
            done[number] = write(shards[number], [names[place] for place in places], own)
    return _index(manifest, folders[0], shards, [found for found in done if found], kind, corpora)


def _index(
    manifest: Manifest, folder: Path, shards: Sequence[Plan], done: Sequence[Written], kind: Kind, corpora: int
) -> Pack:
    packed: list[Utterance] = []
    for shard, found in zip(shards, done, strict=True):
        path, first = str(shard.path), 0
        sources = manifest.utterances[shard.first : shard.first + len(shard.lengths)]
        for source, length, gain, size in zip(sources, shard.lengths, found.gains, found.source_bytes, strict=True):
            stored = Stored(path, first, length, gain, size)
            packed.append(replace(source, parts=(Part(str(folder / source.id), stored=stored),)))
            first += length
    Manifest(tuple(packed), manifest.unusable, str(folder)).save(folder / MANIFEST_FILE)
    listed = tuple(
        Shard(_relative(shard.path, folder), found.samples, found.sha256)
        for shard, found in zip(shards, done, strict=True)
    )
    pack = Pack(folder, kind, manifest.fingerprint, corpora, _sha256(folder / MANIFEST_FILE), listed)
    write_text(folder / PACK_FILE, json.dumps(pack.as_json(), indent=1) + "\n")
    return pack


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


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
