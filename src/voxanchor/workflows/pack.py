"""Packing corpora, and checking packs."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from voxanchor.corpus.layouts import noise_clips, noise_manifest, scan
from voxanchor.corpus.manifest import Manifest, merge
from voxanchor.corpus.pack import JOB_KIND, Pack, read_pack
from voxanchor.corpus.pack_check import Damage, check_pack
from voxanchor.corpus.pack_write import write_pack
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.outputs import claim
from voxanchor.progress import say

SOURCE_FILE = "source.jsonl"
"""What was found when the folders were scanned: a job that goes on packs that, and scans nothing again."""


def pack(
    out: Sequence[Path],
    *,
    speech: Sequence[str] = (),
    noise: str = "",
    layout: str = "auto",
    shard_mb: int = 1024,
    workers: int = 0,
    max_unusable_share: float = 0.2,
) -> tuple[Pack, Manifest]:
    """Pack folders of speech, or one of noise, or finish doing so; return the pack and what was packed.

    Args:
        out: folders for the pack, the first for its index; the shards take turns among them.
        speech: folders of recordings; several are told apart by their names before ids and speakers.
        noise: a folder in MUSAN layout.
        layout: how the speech folders name their speakers.
        shard_mb: largest size of a shard in MB (2**20 bytes).
        workers: threads that decode; 0 for as many as there are cores.
        max_unusable_share: largest share of unusable recordings with which the rest is still packed.

    Raises:
        RecipeError: neither speech nor noise, or both; the same output folder twice, or one inside a source.
        CorpusError: recordings that cannot serve, or that changed since they were scanned.
        OutputError: an output folder holds something else, or has no room.
    """
    sources = [Path(folder).absolute() for folder in (*speech, *([noise] if noise else []))]
    folders = [folder.absolute() for folder in out]
    _refuse_misuse(speech, noise, sources, folders)
    identity = {
        "kind": "noise" if noise else "speech",
        "sources": sources,
        "layout": layout,
        "shard_mb": shard_mb,
        "out": folders,
    }
    with contextlib.ExitStack() as held:
        for folder in folders:
            held.enter_context(claim(folder, JOB_KIND, identity))
        source = folders[0] / SOURCE_FILE
        if source.exists():
            manifest = Manifest.load(source)
        else:
            manifest = noise_manifest(sources[0]) if noise else _speech(sources, layout, max_unusable_share)
            manifest.save(source)
        say(f"{', '.join(map(str, sources))}: {_describe(manifest, bool(noise))}")
        packed = write_pack(
            manifest,
            folders,
            kind="noise" if noise else "speech",
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


def _speech(sources: Sequence[Path], layout: str, max_unusable_share: float) -> Manifest:
    names = [folder.name for folder in sources]
    if len(set(names)) < len(names):
        raise CorpusError(f"speech folders need different names, found {', '.join(names)}: rename one")
    scanned = [scan(folder, layout=layout, max_unusable_share=max_unusable_share) for folder in sources]
    return scanned[0] if len(scanned) == 1 else merge(scanned, names)


def _describe(manifest: Manifest, noise: bool) -> str:
    return noise_clips(manifest).describe() if noise else manifest.describe()


def _refuse_misuse(speech: Sequence[str], noise: str, sources: Sequence[Path], folders: Sequence[Path]) -> None:
    if bool(speech) == bool(noise):
        raise RecipeError("pack either speech or noise: give --speech, once or several times, or --noise once")
    if not folders or len(set(folders)) < len(folders):
        raise RecipeError("give --out at least once, and every folder once")
    for folder in folders:
        for source in sources:
            if folder.is_relative_to(source):
                raise RecipeError(f"{folder}: lies inside {source}, which is packed. Give a folder elsewhere")
