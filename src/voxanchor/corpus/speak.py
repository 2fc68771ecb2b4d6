"""Worker process of `voxanchor.corpus.synthetic`: a job on standard input, finished speakers on standard output.

A process of its own because eSpeak NG is not re-entrant; ``python -m voxanchor.corpus.speak``.
"""

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from voxanchor.audio import io, level
from voxanchor.corpus.espeak import Engine
from voxanchor.corpus.sentences import sentence
from voxanchor.corpus.voices import Voice, draw_voice
from voxanchor.errors import VoxanchorError
from voxanchor.files import writing
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE, Waveform

DURATION_S = (3.0, 6.0)
"""Shortest and longest utterance."""

_LEVEL_DB, _LEVEL_SPREAD_DB = -26.0, 2.5
_MARGIN_S = 0.1
_SETTLING_S = 0.4  # what eSpeak adds around and between sentences


def speaker_name(index: int) -> str:
    """Return the folder name of the speaker with this number."""
    return f"voice{index:04d}"


def _trimmed(waveform: Waveform) -> Waveform:
    loud = np.flatnonzero(np.abs(waveform) > 1e-3 * float(np.abs(waveform).max()))
    margin = round(_MARGIN_S * SAMPLE_RATE)
    return waveform[max(int(loud[0]) - margin, 0) : int(loud[-1]) + 1 + margin]


def _utterance(engine: Engine, voice: Voice, random: np.random.Generator) -> Waveform:
    occasion = voice.vary(random)
    while True:  # a draw lands in the range four times in five
        seconds = float(random.uniform(DURATION_S[0] + 0.2, DURATION_S[1] - 1.4))
        words = max(int((seconds - _SETTLING_S) * occasion.rate_wpm / 60.0), 3)
        waveform = _trimmed(engine.speak(sentence(random, words), occasion))
        if DURATION_S[0] <= len(waveform) / SAMPLE_RATE <= DURATION_S[1]:
            break
    gain_db = float(random.normal(_LEVEL_DB, _LEVEL_SPREAD_DB)) - level.active_level_db(waveform)
    gain = min(10.0 ** (gain_db / 20.0), 0.99 / float(np.abs(waveform).max()))
    return np.asarray(waveform * np.float32(gain), dtype=np.float32)


def speak_speaker(folder: Path, index: int, utterances: int, seed: int) -> None:
    """Write every utterance of one speaker to ``folder/<speaker>/<n>.flac``; the speaker's folder appears complete.

    Args:
        folder: of the corpus.
        index: number of the speaker.
        utterances: how many to make.
        seed: of the corpus; speaker ``index`` of one seed is always the same person saying the same things.
    """
    name = speaker_name(index)
    unfinished = folder / f".{name}"  # hidden: no scan takes half a speaker for a whole one
    shutil.rmtree(unfinished, ignore_errors=True)
    voice = draw_voice(generator(seed, 0, index, "synthetic/voice"))
    try:
        with writing(folder), Engine(seed=1 + index) as engine:
            unfinished.mkdir(parents=True)
            for n in range(utterances):
                random = generator(seed, 0, f"{index}/{n}", "synthetic/utterance")
                io.write(unfinished / f"{n:03d}.flac", _utterance(engine, voice, random))
            unfinished.rename(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main() -> None:
    """Speak the speakers of the job that arrives on standard input, one line of output for each when it is done.

    An error that can be mended is a last line of output: standard error goes to a file, for which there may be no room.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the engine's private files are removed on the way out
    job = json.load(sys.stdin)
    try:
        for index in job["speakers"]:
            speak_speaker(Path(job["folder"]), index, job["utterances"], job["seed"])
            print(index, flush=True)
    except VoxanchorError as error:
        print(json.dumps(str(error)), flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
