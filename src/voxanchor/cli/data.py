"""The commands about corpora themselves: fetching them, packing them, and checking packs.

What a command needs is imported inside it, so that ``--help`` answers at once.
"""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from voxanchor.cli.arguments import Folder, Folders, Group, Json, Layout, Name, OutFolder, OutFolders, Share, print_json
from voxanchor.runtime import counted


def pack(
    out: OutFolders,
    speech: Folders = (),
    noise: Folder = "",
    rooms: Folder = "",
    layout: Layout = "auto",
    channel: str = "mix",
    shard_mb: int = 1024,
    workers: int = 0,
    max_unusable: Share = 0.2,
    json: Json = False,
) -> int:
    """Pack a folder of recordings into a few large files.

    Packs folders of speech, or one of noise or rooms. The pack is used wherever the folder was, with the same result.

    Example: voxanchor data pack --speech my-speech --out packs/my-speech

    Args:
        out: folder for the pack; the same command resumes there. Given several times, the shards are spread over these
            folders, on several disks say; the first is then the pack's.
        speech: folder of recordings, one sub-folder per speaker; or a list that names both (see --layout).
        noise: folder with noise/, music/ and speech/ (MUSAN layout).
        rooms: folder of room impulse responses.
        layout: how the speakers are named. Folders: speakers, voxceleb, librispeech, cnceleb, or flat (not at all);
            lists: kaldi, nemo, lhotse, speechbrain, csv, cnceleb. auto tells by what is there.
        channel: which channel of the speech is packed: mix (the mean of all), loudest, left, right, or its number.
        shard_mb: largest size of a shard, in MB.
        workers: threads that decode; 0 for as many as there are cores.
        max_unusable: largest share of unusable recordings with which the rest is still packed.
        json: print what was packed as JSON.
    """
    from voxanchor.audio.downmix import channel_of
    from voxanchor.workflows.pack import pack as job

    made, manifest = job(
        out,
        speech=speech,
        noise=noise,
        rooms=rooms,
        layout=layout,
        channel=channel_of(channel),
        shard_mb=shard_mb,
        workers=workers,
        max_unusable_share=max_unusable,
    )
    if json:
        facts = {
            "pack": str(made.folder),
            "kind": made.kind,
            "layout": manifest.layout,
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
    shards = counted(len(made.shards), "shard")
    recordings = counted(len(manifest), "recording")
    print(f"{recordings}, {manifest.hours:.2f} h, {made.bytes / 2**20:.0f} MB in {shards}: {made.folder}")
    if manifest.unusable:
        print(
            f"Not usable: {counted(len(manifest.unusable), 'recording')}; {made.folder / 'manifest.jsonl'} lists them"
        )
    return 0


def check(pack: Positional[OutFolder], json: Json = False) -> int:
    """Read every byte of a pack and name what is damaged.

    Exit status: 0 nothing, 1 something.

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


def fetch(
    name: Positional[Name] = "",
    out: OutFolder = Path("data"),
    mirror: str = "",
    keep_archive: bool = False,
    show_list: Annotated[bool, arg(name="list")] = False,
    json: Json = False,
) -> int:
    """Download a corpus that is free, check it and unpack it.

    Without a name it lists what there is. Stopped at whatever moment, the same command goes on where it was; when all
    is there it does nothing.

    Example: voxanchor data fetch musan --out data

    Args:
        name: the corpus to fetch; without it the list is printed.
        out: folder to unpack into, which several corpora may share.
        mirror: address to fetch from in the place of www.openslr.org, for example https://openslr.elda.org/resources.
        keep_archive: keep the archive beside what was unpacked.
        show_list: list what there is: name, size, licence and content.
        json: print {"name", "folder"}, or the list, as JSON.
    """
    from voxanchor.corpus.download import downloads, size
    from voxanchor.corpus.download import fetch as job

    if name and not show_list:
        folder = job(name, out, mirror=mirror, keep_archive=keep_archive)
        if json:
            print_json({"name": name, "folder": str(folder)})
        else:
            print(folder)
        return 0
    known = downloads()
    if json:
        print_json({entry: vars(corpus) for entry, corpus in known.downloads.items()})
        return 0
    for entry, corpus in known.downloads.items():
        print(f"{entry}: {corpus.about}; {size(corpus.bytes)}; licence {corpus.licence}; {corpus.page}")
    for other in known.elsewhere:
        print(other.say)
    return 0


GROUP = Group(
    """Fetch free corpora; pack recordings into few files; check packs.

    A pack is a few large files that are mapped into memory and never decoded. Exit status: 1 when a check finds damage.
    """,
    {"fetch": fetch, "pack": pack, "check": check},
)
