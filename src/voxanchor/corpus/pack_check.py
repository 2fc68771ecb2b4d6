"""Whether a pack still is what was written, byte by byte."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from voxanchor.corpus.pack import MANIFEST_FILE, Pack, Shard
from voxanchor.progress import Advance, track

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
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != pack.manifest_sha256:
                found.append(Damage(str(path), _CHANGED))
    except OSError as error:
        found.append(Damage(str(path), f"cannot be opened ({error.strerror})"))
    return found


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
