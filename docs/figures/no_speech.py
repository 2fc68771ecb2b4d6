"""Clips of noise and music compared with each other: how many pairs are taken for one voice.

python docs/figures/no_speech.py CALIBRATED_MODEL NOISE
"""

import sys

import numpy as np

from voxanchor.audio.io import find_audio
from voxanchor.scoring.calibration import log_odds
from voxanchor.verification.embedding import embed
from voxanchor.verification.loading import load
from voxanchor.verification.people import embedding_set
from voxanchor.verification.recordings import load_all_audio

PRIOR = 0.01


def main(model: str, noise: str) -> None:
    """Print how many clips are refused as no speech, and how many pairs of the others are accepted."""
    verifier = load(model)
    clips = load_all_audio([path for path in find_audio(noise) if "speech" not in path.parts[-2:]])
    heard = [clip for clip in clips if not verifier.unfit(clip)]
    voices = embedding_set(heard, embed(verifier.embedder, heard))
    left, right = np.triu_indices(len(heard), 1)
    accepted = verifier.backend.ratios(voices, voices, left, right) >= log_odds(PRIOR)
    share = 100 * accepted.mean()
    print(f"{len(clips)} clips, {len(heard)} taken for speech; of {len(left)} pairs {share:.0f} % accepted")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
