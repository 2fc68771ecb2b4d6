"""The audio that every side hears: real recordings where they lie at hand, otherwise made ones."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from voxanchor.audio.io import find_audio, read
from voxanchor.audio.synthetic import SyntheticNoise, coloured
from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE, Waveform

SPEECH = "speech/librispeech-clean-251"
NOISE = "noise/train"
PIECE_S = 3.0
_FACTS = "audio.json"


@dataclass(frozen=True)
class Recordings:
    """What `prepare` left in a folder.

    Attributes:
        manifest: of the speech.
        noise: folder of the noise clips in MUSAN layout, as found.
        wavs: folder of the same clips of kind ``noise`` as 16-bit WAV.
        pieces: SpeechBrain's CSV of them in pieces of at most 3 s, as its VoxCeleb recipe prepares noise.
        clips: SpeechBrain's CSV of the whole clips as found.
        made: whether all of it was made up.
    """

    manifest: Manifest
    noise: Path
    wavs: Path
    pieces: Path
    clips: Path
    made: bool

    def bank(self, built_in_share: float = 0.0) -> NoiseBank:
        """Return the noise for voxanchor."""
        return noise_bank((str(self.noise),), self.manifest, built_in_share=built_in_share, for_evaluation=False)

    def waves(self, count: int, seconds: float) -> list[Waveform]:
        """Return `count` stretches of speech of exactly `seconds`, joined across recordings where one is too short."""
        wanted, found = round(seconds * SAMPLE_RATE), []
        rest = np.empty(0, dtype=np.float32)
        utterances = iter(self.manifest.utterances * (1 + int(count * seconds / (self.manifest.hours * 3600))))
        while len(found) < count:
            while len(rest) < wanted:
                rest = np.concatenate((rest, next(utterances).read()))
            found.append(np.ascontiguousarray(rest[:wanted]))
            rest = rest[wanted:] if seconds > PIECE_S else np.empty(0, dtype=np.float32)
        return found


def prepare(data: Path, folder: Path) -> str:
    """Fill `folder` and return one line on what the audio is."""
    made = not ((data / SPEECH).is_dir() and (data / NOISE).is_dir())
    if made:
        data = folder / "made"
        _make(data)
    manifest = scan(data / SPEECH)
    manifest.save(folder / "manifest.jsonl")
    wavs = folder / "wavs"
    wavs.mkdir(parents=True)
    pieces, clips = [], []
    for path in find_audio(data / NOISE / "noise"):
        wave = read(path)
        clips.append((path.stem, len(wave), path, path.suffix[1:]))
        soundfile.write(wavs / f"{path.stem}.wav", wave, SAMPLE_RATE, subtype="PCM_16")
        step = round(PIECE_S * SAMPLE_RATE)
        for start in range(0, len(wave), step):
            target = folder / "pieces" / f"{path.stem}_{start}.wav"
            target.parent.mkdir(exist_ok=True)
            soundfile.write(target, wave[start : start + step], SAMPLE_RATE, subtype="PCM_16")
            pieces.append((target.stem, len(wave[start : start + step]), target, "wav"))
    _speechbrain_csv(folder / "pieces.csv", pieces)
    _speechbrain_csv(folder / "clips.csv", clips)
    kind = "made of shaped noise, for want of recordings" if made else f"{SPEECH} and {NOISE}"
    facts = {"noise": str(data / NOISE), "made": made, "what": f"{kind}: {manifest.describe()}; {len(clips)} clips"}
    (folder / _FACTS).write_text(json.dumps(facts))
    return str(facts["what"])


def load(folder: str | Path) -> Recordings:
    """Return what `prepare` left in `folder`."""
    folder = Path(folder)
    facts = json.loads((folder / _FACTS).read_text())
    return Recordings(
        manifest=Manifest.load(folder / "manifest.jsonl"),
        noise=Path(facts["noise"]),
        wavs=folder / "wavs",
        pieces=folder / "pieces.csv",
        clips=folder / "clips.csv",
        made=bool(facts["made"]),
    )


def _speechbrain_csv(path: Path, entries: list[tuple[str, int, Path, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("ID", "duration", "wav", "wav_format", "wav_opts"))
        writer.writerows((name, samples / SAMPLE_RATE, where, kind, "") for name, samples, where, kind in entries)


def _make(data: Path, speakers: int = 100, clips: int = 30) -> None:
    """Write speech-shaped noise that comes and goes like syllables, and noise clips."""
    for speaker in range(speakers):
        draw = generator(0, 0, speaker, "benchmark speech")
        length = int(draw.uniform(8, 16) * SAMPLE_RATE)
        knots = draw.uniform(0, 1, size=length // 2000 + 2) ** 2
        envelope = np.interp(np.arange(length) / 2000, np.arange(len(knots)), knots)
        folder = data / SPEECH / f"{speaker:03d}"
        folder.mkdir(parents=True)
        soundfile.write(folder / "0.flac", coloured("speech_shaped", length, draw) * envelope, SAMPLE_RATE)
    folder = data / NOISE / "noise"
    folder.mkdir(parents=True)
    for clip in range(clips):
        wave = SyntheticNoise().draw(5 * SAMPLE_RATE, generator(0, 0, clip, "benchmark noise")).waveform
        soundfile.write(folder / f"{clip:03d}.flac", np.clip(wave, -1, 1), SAMPLE_RATE)
