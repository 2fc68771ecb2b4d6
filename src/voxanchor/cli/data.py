"""The commands about corpora themselves: packing them, and checking packs.

What a command needs is imported inside it, so that ``--help`` answers at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tyro.conf import Positional, UseAppendAction

from voxanchor.cli.shared import Json, print_json
from voxanchor.errors import RecipeError

DESCRIPTION = """Packs: a corpus as a few large files that are mapped into memory and never decoded.

Exit status: as of voxanchor; 1 when a check finds damage."""


def pack(
    out: UseAppendAction[tuple[Path, ...]],
    speech: UseAppendAction[tuple[str, ...]] = (),
    noise: str = "",
    rooms: str = "",
    layout: Literal["auto", "speakers", "voxceleb", "librispeech", "flat"] = "auto",
    shard_mb: int = 1024,
    workers: int = 0,
    max_unusable: float = 0.2,
    json: Json = False,
) -> int:
    """Pack folders of speech, or one of noise or rooms. The pack is used wherever the folder was, with the same result.

    Example: voxanchor data pack --speech my-speech --out packs/my-speech

    Args:
        out: folder for the pack; the same command resumes there. Given several times, the shards are spread over these
            folders, on several disks say; the first is then the pack's.
        speech: folder of recordings, one sub-folder per speaker; may be given several times.
        noise: folder with noise/, music/ and speech/ (MUSAN layout).
        rooms: folder of room impulse responses.
        layout: how the folders name their speakers.
        shard_mb: largest size of a shard, in MB.
        workers: threads that decode; 0 for as many as there are cores.
        max_unusable: largest share of unusable recordings with which the rest is still packed.
        json: print what was packed as JSON.
    """
    from voxanchor.workflows.pack import pack as job

    made, manifest = job(
        out,
        speech=speech,
        noise=noise,
        rooms=rooms,
        layout=layout,
        shard_mb=shard_mb,
        workers=workers,
        max_unusable_share=max_unusable,
    )
    if json:
        facts = {
            "pack": str(made.folder),
            "kind": made.kind,
            "fingerprint": made.fingerprint,
            "utterances": len(manifest),
            "speakers": len(manifest.speakers),
            "hours": round(manifest.hours, 4),
            "unusable": len(manifest.unusable),
            "shards": len(made.shards),
            "bytes": made.bytes,
        }
        print_json(facts)
        return 0
    shards = f"{len(made.shards)} shard{'s' if len(made.shards) != 1 else ''}"
    print(f"{len(manifest)} recordings, {manifest.hours:.2f} h, {made.bytes / 2**20:.0f} MB in {shards}: {made.folder}")
    if manifest.unusable:
        print(f"{len(manifest.unusable)} recordings could not be used; {made.folder / 'manifest.jsonl'} lists them")
    return 0


def check(pack: Positional[Path], json: Json = False) -> int:
    """Read every byte of a pack and say which of its files are damaged.

    Exit status 1 when any is.

    Example: voxanchor data check packs/my-speech

    Args:
        pack: folder of the pack.
        json: print {"pack", "shards", "damaged": [{"file", "problem"}]}.
    """
    from voxanchor.corpus.pack import remedy
    from voxanchor.workflows.pack import check as job

    found, damaged = job(pack)
    if json:
        facts = {"pack": str(pack), "shards": len(found.shards), "damaged": [vars(damage) for damage in damaged]}
        print_json(facts)
    elif damaged:
        for damage in damaged:
            print(f"damaged: {damage.file}: {damage.problem}")
        print(remedy(pack))
    else:
        print(f"{len(found.shards)} shards, {found.bytes / 2**20:.0f} MB: as they were written")
    return 1 if damaged else 0


def data() -> int:
    """Pack a corpus into a few large files, or check a pack.

    Example: voxanchor data pack --speech my-speech --out packs/speech
    """
    raise RecipeError("data: name what to do with it, pack or check; 'voxanchor data --help' says more")


COMMANDS: dict[str, Callable[..., int]] = {"pack": pack, "check": check}
