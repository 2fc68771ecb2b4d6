"""Memory of training on a packed corpus that is larger than the machine's, against one that is small.

Takes a while and as much room on the disk as the corpus: only when asked for.
"""

import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import recordings
from measure import Answer, Row, Settings, Side, seconds
from torch import Tensor

from rows.pairs import RECORDED
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.pack import write_pack
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig
from voxanchor.runtime import keep_freed_memory
from voxanchor.training.batches import Batch, Batches
from voxanchor.training.loop import train
from voxanchor.training.task import SpeakerTask

ENCODER = EncoderConfig("ecapa", {"channels": 64})
SMALL_GB = 1
EVERY = 200
ROUNDS = 5


def measure(settings: Settings) -> Answer:
    """Build both corpora and train on each in a process of its own."""
    heard = recordings.load(settings.recordings)
    large_gb = settings.pick(50, 2)
    rows, facts = [], {}
    with tempfile.TemporaryDirectory(prefix="voxanchor-memory-") as folder:
        few = Path(folder) / "few"
        few.mkdir()
        write_pack(heard.manifest, [few], kind="speech", corpora=1, shard_mb=1024, workers=settings.threads)
        found = {}
        for size_gb in (SMALL_GB, large_gb):
            packed = Path(folder) / f"{size_gb}"
            packed.mkdir()
            manifest = _repeated(scan(few), size_gb)
            took_s = seconds(
                lambda m=manifest, p=packed: write_pack(m, [p], kind="speech", corpora=1, shard_mb=1024, workers=1)
            )
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "rows.memory",
                settings.recordings,
                str(packed),
                str(settings.pick(EVERY, 20)),
            ]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
            found[size_gb] = [tuple(map(float, line.split())) for line in told.stdout.splitlines()]
            facts[f"{size_gb} GB"] = {
                "recordings": len(manifest),
                "packing_s": round(took_s, 1),
                "own_gb after each round": [own for own, _ in found[size_gb]],
                "mapped_gb after each round": [mapped for _, mapped in found[size_gb]],
            }
    for index, what in enumerate(("of its own", "mapped, which the system takes back when it needs room")):
        sides = [
            Side(f"voxanchor, {size_gb} GB", tuple(values[index] for values in found[size_gb]))
            for size_gb in (large_gb, SMALL_GB)
        ]
        note = f"{ROUNDS} values, {settings.pick(EVERY, 20)} steps apart"
        rows.append(
            Row(
                f"memory while training on a packed corpus, {what}",
                "GB",
                *sides,
                goal="flat" if not index else "",
                note=note,
                better="lower",
            )
        )
    return Answer(rows, facts)


def _repeated(manifest: Manifest, size_gb: int) -> Manifest:
    """Return the recordings again and again under other names, until they fill a size."""
    times = round(size_gb * 2**30 / (manifest.hours * 3600 * 32_000))
    utterances = tuple(
        replace(utterance, id=f"{turn}/{utterance.id}") for turn in range(times) for utterance in manifest.utterances
    )
    return Manifest(utterances, (), manifest.root)


def _memory_gb() -> tuple[float, float]:
    """Return what this process holds: memory of its own, and pages of files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    own, mapped = (int(re.findall(rf"Rss{name}:\s+(\d+)", status)[0]) / 2**20 for name in ("Anon", "File"))
    return own, mapped


class WatchedTask(SpeakerTask):
    """The task, telling the memory at every so many steps."""

    every = 1

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if step and step % self.every == 0:
            print(*(f"{value:.3f}" for value in _memory_gb()), flush=True)
        return super().forward(batch, step)


def _train(heard: recordings.Recordings, packed: Path, every: int) -> None:
    keep_freed_memory()
    manifest = scan(packed)
    stage = replace(RECORDED, steps=ROUNDS * every + 1, validate_every=0, checkpoint_every=10**6)
    task = WatchedTask(registry.build(ENCODER), stage, manifest.speakers, None)
    task.every = every
    source = Batches(manifest, heard.bank(), stage, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        train(task, source, stage, Path(folder), seed=0, label="steps")


if __name__ == "__main__":
    _train(recordings.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
