"""Packs: a corpus as a few large WAV files with an index, opened at once and mapped, never decoded.

A pack is a folder with ``pack.json`` (what it is), ``manifest.jsonl`` (every recording, and where in which shard it
lies) and shards, ``shards/00000.wav`` and so on, here or on other disks. docs/formats.md says what is in each.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError
from voxanchor.outputs import IDENTITY_FILE

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
