"""Packing corpora, and checking packs."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from voxanchor.audio.downmix import Channel
from voxanchor.corpus.layouts import noise_clips, noise_manifest, scan
from voxanchor.corpus.manifest import Manifest, merge
from voxanchor.corpus.noise_folders import describe_rooms, room_manifest
from voxanchor.corpus.pack import JOB_KIND, Damage, Kind, Pack, check_pack, read_pack, write_pack
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import log_line

SOURCE_FILE = "source.jsonl"
"""What was found when the folders were scanned: a job that goes on packs that, and scans nothing again."""


def pack(
    out: Sequence[Path],
    *,
    speech: Sequence[str] = (),
    noise: str = "",
    rooms: str = "",
    layout: str = "auto",
    channel: Channel = "mix",
    shard_mb: int = 1024,
    workers: int = 0,
    max_unusable_share: float = 0.2,
) -> tuple[Pack, Manifest]:
    """Pack folders of speech, or one of noise or rooms, or finish doing so; return the pack and what was packed.

    Args:
        out: folders for the pack, the first for its index; the shards take turns among them.
        speech: folders of recordings; several are told apart by their names before ids and speakers.
        noise: a folder in MUSAN layout.
        rooms: a folder of room impulse responses.
        layout: how the speech folders name their speakers.
        channel: which channel of the speech is packed.
        shard_mb: largest size of a shard in MB (2**20 bytes).
        workers: threads that decode; 0 for as many as there are cores.
        max_unusable_share: largest share of unusable recordings with which the rest is still packed.

    Raises:
        RecipeError: none of speech, noise and rooms, or several; the same output folder twice, or one inside a source.
        CorpusError: recordings that cannot serve, or that changed since they were scanned.
        OutputError: an output folder holds something else, or has no room.
    """
    sources = [Path(folder).absolute() for folder in (*speech, *filter(None, (noise, rooms)))]
    folders = [folder.absolute() for folder in out]
    kind: Kind = "noise" if noise else "rooms" if rooms else "speech"
    _refuse_misuse([bool(speech), bool(noise), bool(rooms)], sources, folders)
    identity = {
        "kind": kind,
        "sources": sources,
        "layout": layout,
        "shard_mb": shard_mb,
        "out": folders,
    }
    identity |= {} if channel == "mix" else {"channel": channel}
    with contextlib.ExitStack() as held:
        for folder in folders:
            held.enter_context(lock_run_dir(folder, JOB_KIND, identity))
        source = folders[0] / SOURCE_FILE
        if source.exists():
            manifest = Manifest.load(source)
        else:
            manifest = _scan(kind, sources, layout, channel, max_unusable_share)
            manifest.save(source)
        log_line(f"{', '.join(map(str, sources))}: {_describe(manifest, kind)}")
        packed = write_pack(
            manifest,
            folders,
            kind=kind,
            corpora=len(sources),
            shard_mb=shard_mb,
            workers=workers or os.cpu_count() or 1,
        )
    return packed, manifest


def check(folder: Path) -> tuple[Pack, list[Damage]]:
    """Return a pack, and which of its files are damaged; every byte is read.

    Raises:
        CorpusError: the folder is no pack.
    """
    found = read_pack(folder)
    return found, check_pack(found)


def _scan(kind: Kind, sources: Sequence[Path], layout: str, channel: Channel, max_unusable_share: float) -> Manifest:
    if kind == "noise":
        return noise_manifest(sources[0])
    if kind == "rooms":
        return room_manifest(sources[0])
    names = [folder.name for folder in sources]
    if len(set(names)) < len(names):
        raise CorpusError(f"speech folders need different names, found {', '.join(names)}: rename one")
    scanned = [scan(folder, layout, max_unusable_share, channel) for folder in sources]
    return scanned[0] if len(scanned) == 1 else merge(scanned, names)


def _describe(manifest: Manifest, kind: Kind) -> str:
    if kind == "noise":
        return noise_clips(manifest).describe()
    return describe_rooms(manifest) if kind == "rooms" else manifest.describe()


def _refuse_misuse(given: Sequence[bool], sources: Sequence[Path], folders: Sequence[Path]) -> None:
    if sum(given) != 1:
        raise RecipeError(
            "pack either speech or noise or rooms: give --speech, once or several times, or --noise or --rooms once"
        )
    if not folders or len(set(folders)) < len(folders):
        raise RecipeError("give --out at least once, and every folder once")
    for folder in folders:
        for source in sources:
            if folder.is_relative_to(source):
                raise RecipeError(f"{folder}: lies inside {source}, which is packed. Give a folder elsewhere")
