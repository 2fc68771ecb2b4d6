"""Clean/noisy pairs ready for the model: crops of speech from a corpus, each with noise at a drawn SNR."""

import random
import time
from dataclasses import replace
from itertools import count

import numpy as np
import recordings
import soundfile
import torch
from measure import Answer, Measure, Row, Settings, Side, attempt, in_turn, rate

from voxanchor.audio.snr import active_level_db
from voxanchor.corpus.manifest import Utterance
from voxanchor.training.batches import Batches
from voxanchor.training.stage import Noise, Train
from voxanchor.types import SAMPLE_RATE, Waveform

BATCH = 64
CROP_S = 2.0
CROP = round(CROP_S * SAMPLE_RATE)
SNR_DB = (0.0, 20.0)
RECORDED = Train("scratch", 1, batch_size=BATCH, crop_s=CROP_S, clean_share=0.0, noise=Noise({"noise": 1.0}, SNR_DB))
ALL_KINDS = replace(RECORDED, noise=Noise(snr_db=SNR_DB))
PAIRS = f"clean/noisy pairs a second, batches of {BATCH} x {CROP_S:g} s"


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    heard = recordings.load(settings.recordings)
    least_s = 0.2 if settings.quick else 1.0
    began = time.perf_counter()
    ours = Batches(heard.manifest, heard.bank(), RECORDED, seed=0)
    rounds = -(-len(heard.manifest) // BATCH)
    for step in range(rounds):
        ours.render(step)
    first_s = time.perf_counter() - began
    mixed = Batches(heard.manifest, heard.bank(built_in_share=0.5), ALL_KINDS, seed=0)
    for step in range(rounds):
        mixed.render(step)

    sides = in_turn(
        {
            "voxanchor": _rendered(ours, least_s),
            "voxanchor, all kinds": _rendered(mixed, least_s),
            "SpeechBrain AddNoise, crops and clips from FLAC": attempt(lambda: _speechbrain(heard, heard.clips)),
            "SpeechBrain AddNoise, noise cut to 3 s WAV": attempt(lambda: _speechbrain(heard, heard.pieces)),
            "soundfile + audiomentations": attempt(lambda: _audiomentations(heard, False, least_s)),
            "audiomentations, speech in memory": attempt(lambda: _audiomentations(heard, True, least_s)),
        },
        settings.repeats,
    )
    names = list(sides)
    goals = {names[2]: "at least 50", names[4]: "at least 5"}
    rows = [Row(PAIRS, "pairs/s", sides[names[0]], sides[name], goal=goals.get(name, "")) for name in names[2:]]
    rows.append(
        Row(
            f"{PAIRS}, voxanchor alone",
            "pairs/s",
            sides[names[1]],
            note="noise, music and babble, half of noise and music built in: the default of training",
        )
    )
    what = (
        f"decoding the corpus and the noise once ({60 * heard.manifest.hours:.0f} min), and the first {rounds} batches"
    )
    rows.append(Row(what, "s", Side("voxanchor", (first_s,)), better="lower", note="measured once; not in the rates"))
    worst = Side("voxanchor", (_largest_snr_error_db(heard),))
    note = f"active levels of what was added; {BATCH} pairs asked for at 10 dB"
    rows.append(Row("largest error of the SNR", "dB", worst, goal="at most 0.01", note=note, better="lower"))
    return Answer(rows)


def _rendered(batches: Batches, least_s: float) -> Measure:
    steps = count()
    return rate(lambda: batches.render(next(steps)), BATCH, least_s)


def _largest_snr_error_db(heard: recordings.Recordings) -> float:
    noise = Noise({"noise": 1.0}, (10.0, 10.0))
    noisy = Batches(heard.manifest, heard.bank(), replace(RECORDED, noise=noise), seed=0).render(0).waves.numpy()
    clean = Batches(heard.manifest, heard.bank(), replace(RECORDED, clean_share=1.0), seed=0).render(0).waves.numpy()
    # noise is added without DC and drift: taken out of it twice, a rumble would be measured too low
    added = [active_level_db(n.astype(np.float64) - c, filtered=True) for c, n in zip(clean, noisy, strict=True)]
    found = [active_level_db(c) - level for c, level in zip(clean, added, strict=True)]
    return float(np.abs(np.array(found) - 10.0).max())


def _crop(utterance: Utterance, draw: random.Random) -> tuple[str, int, int]:
    total = round(utterance.duration_s * SAMPLE_RATE)
    start = draw.randrange(max(1, total - CROP))
    return utterance.parts[0].path, start, min(start + CROP, total)


def _speechbrain(heard: recordings.Recordings, noise: object) -> Measure:
    from peers import brain

    add = brain.AddNoise(str(noise), snr_low=SNR_DB[0], snr_high=SNR_DB[1])
    draw, lengths = random.Random(0), torch.ones(BATCH)

    def batch() -> torch.Tensor:
        chosen = [_crop(draw.choice(heard.manifest.utterances), draw) for _ in range(BATCH)]
        waves = torch.stack(
            [_full(brain.read_audio({"file": path, "start": start, "stop": stop})) for path, start, stop in chosen]
        )
        noisy: torch.Tensor = add(waves, lengths)
        return noisy

    # one batch is seconds of work where clips are long
    return rate(batch, BATCH)


def _full(wave: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(wave, (0, CROP - len(wave)))


def _audiomentations(heard: recordings.Recordings, in_memory: bool, least_s: float) -> Measure:
    from audiomentations import AddBackgroundNoise

    add = AddBackgroundNoise(str(heard.wavs), min_snr_db=SNR_DB[0], max_snr_db=SNR_DB[1], p=1.0)
    draw = random.Random(0)
    decoded: dict[str, Waveform] = {}
    if in_memory:
        decoded = {u.parts[0].path: u.read() for u in heard.manifest.utterances}

    def batch() -> torch.Tensor:
        waves = np.zeros((BATCH, CROP), dtype=np.float32)
        for wave in waves:
            path, start, stop = _crop(draw.choice(heard.manifest.utterances), draw)
            if in_memory:
                crop = decoded[path][start:stop]
            else:
                crop, _ = soundfile.read(path, start=start, stop=stop, dtype="float32")
            wave[: len(crop)] = add(crop, SAMPLE_RATE)
        return torch.from_numpy(waves)

    return rate(batch, BATCH, least_s)
