"""Shards of a pack: which recordings go into which, and writing one so that a finished one is never made again."""

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from voxanchor.audio.pcm import Pcm
from voxanchor.corpus.pack import HEADER_BYTES, SHARDS_FOLDER, Shard
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.files import replacing, write_text, writing
from voxanchor.types import SAMPLE_RATE

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

    def shard(self, file: str) -> Shard:
        """Return the shard as ``pack.json`` lists it."""
        return Shard(file, self.samples, self.sha256)


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
