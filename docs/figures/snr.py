"""How near the estimate of the signal-to-noise ratio comes to the ratio that was mixed.

python docs/figures/snr.py SPEECH NOISE [SECONDS]

With --whole: what the ratio between the levels of whole signals, pauses included, is where 0 dB between active levels
was asked for, in the built-in kinds of noise.

python docs/figures/snr.py --whole SPEECH [SECONDS]
"""

import sys

import numpy as np

from voxanchor.audio.quality import estimate_snr_db
from voxanchor.audio.snr import active_s, level_db, mix
from voxanchor.conditions.bank import noise_bank, voices
from voxanchor.conditions.render import render
from voxanchor.conditions.spec import Condition
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Utterance
from voxanchor.corpus.segments import segment
from voxanchor.rng import generator
from voxanchor.types import SAMPLE_RATE, Waveform

RATIOS_DB = (0, 5, 10, 15, 20, 25)


def main(speech: str, noise: str, seconds: float = 3.0) -> None:
    """Print a table: median and spread (10th to 90th percentile) of the estimates by kind of noise and ratio."""
    recordings = scan(speech)
    bank = noise_bank((noise,), recordings, built_in_share=0.0, for_evaluation=True)
    pieces = segment(recordings, seconds, 1).utterances
    waves = [piece.read() for piece in pieces]

    def noisy(piece: Utterance, wave: Waveform, kind: str, ratio_db: float) -> Waveform:
        draw = generator(0, 0, piece.id, f"snr/{kind}/{ratio_db}")
        if kind == "white":
            return mix(wave, draw.standard_normal(len(wave)).astype(np.float32), ratio_db).waveform
        return render(wave, Condition(kind, ratio_db), bank, draw, exclude=voices(piece)).waveform

    print("| noise | " + " | ".join(f"{ratio} dB" for ratio in RATIOS_DB) + " |")
    print("|---|" + "---|" * len(RATIOS_DB))
    for kind in ("white", "noise", "music", "babble"):
        cells = []
        for ratio in RATIOS_DB:
            found = [
                estimate_snr_db(noisy(piece, wave, kind, ratio)) for piece, wave in zip(pieces, waves, strict=True)
            ]
            low, middle, high = np.percentile(found, (10, 50, 90))
            cells.append(f"{middle:.0f} ({low:.0f} to {high:.0f})")
        print(f"| {kind} | " + " | ".join(cells) + " |")
    low, middle, high = np.percentile([estimate_snr_db(wave) for wave in waves], (10, 50, 90))
    print(f"\nclean: {middle:.0f} ({low:.0f} to {high:.0f})")


def whole(speech: str, seconds: float = 3.0) -> None:
    """Print a table: the whole-signal ratio (dB) of mixtures that were asked for at 0 dB between active levels."""
    recordings = scan(speech)
    bank = noise_bank((), recordings, built_in_share=0.0, for_evaluation=True)
    pieces = segment(recordings, seconds, 1).utterances
    waves = [piece.read() for piece in pieces]
    pauses = [100 * (1 - active_s(wave) * SAMPLE_RATE / len(wave)) for wave in waves]
    print(f"{len(pieces)} segments of {seconds:g} s; {np.mean(pauses):.0f} % of the speech is pauses\n")
    print("| noise | least | 5th percentile | median | mean | 95th percentile | most |")
    print("|---|---|---|---|---|---|---|")
    everything: list[float] = []
    for kind in bank.kinds:
        found = []
        for piece, wave in zip(pieces, waves, strict=True):
            noise = bank.draw(kind, len(wave), generator(0, 0, piece.id, f"whole/{kind}"), voices(piece)).waveform
            found.append(level_db(wave) - level_db(noise) - mix(wave, noise, 0.0).noise_gain_db)
        print(_row(kind, found))
        everything += found
    print(_row("all", everything))


def _row(kind: str, found: list[float]) -> str:
    figures = (*np.percentile(found, (0, 5, 50)), np.mean(found), *np.percentile(found, (95, 100)))
    return f"| {kind} | " + " | ".join(f"{figure:+.1f}" for figure in figures) + " |"


if __name__ == "__main__":
    if sys.argv[1] == "--whole":
        whole(sys.argv[2], *map(float, sys.argv[3:4]))
        sys.exit()
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:4]))
