"""Levels and mixing of many waveforms at once, in torch, on whatever device they lie on.

The same definitions as `voxanchor.audio.level` and `voxanchor.audio.mix`, which work on one waveform at a time and are
what these are tested against.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from voxanchor.audio.level import ACTIVITY_MARGIN_DB, FRAME_SAMPLES

_RATIO = 10.0 ** (-ACTIVITY_MARGIN_DB / 10.0)


@dataclass(frozen=True)
class Activity:
    """Where sound is heard in N waveforms, and how loud it is there.

    Attributes:
        power: (N,) float64 mean power of the active frames; 0 for digital silence.
        samples: (N,) int64 samples in active frames.
    """

    power: Tensor
    samples: Tensor


def frame_energy(waves: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy (N, F) float64 and the number of samples (F,) float64 of the 20 ms frames of `waves` (N, T)."""
    total = waves.shape[1]
    whole = total // FRAME_SAMPLES
    body = waves[:, : whole * FRAME_SAMPLES].reshape(waves.shape[0], whole, FRAME_SAMPLES)
    norms = [torch.linalg.vector_norm(body, dim=2)]
    counts = torch.full((whole,), float(FRAME_SAMPLES), dtype=torch.float64, device=waves.device)
    if total > whole * FRAME_SAMPLES:
        norms.append(torch.linalg.vector_norm(waves[:, whole * FRAME_SAMPLES :], dim=1, keepdim=True))
        counts = F.pad(counts, (0, 1), value=float(total - whole * FRAME_SAMPLES))
    return torch.cat(norms, dim=1).double().square(), counts


def activity(energy: Tensor, samples: Tensor) -> Activity:
    """Return what of N waveforms is active, by the fixed point of `voxanchor.audio.level.active_level_db`.

    Args:
        energy: (N, F) energy of every frame.
        samples: (F,) samples of every frame.
    """
    power = energy / samples
    active = power > 0.0
    while True:
        heard = (active * samples).sum(dim=1)
        level = (energy * active).sum(dim=1) / heard.clamp(min=1.0)
        # Removing quiet frames can only raise the level: the sets shrink until they stay.
        louder = active & (power > level.unsqueeze(1) * _RATIO)
        if torch.equal(louder, active):
            return Activity(level, heard.long())
        active = louder


def measure(waves: Tensor) -> Activity:
    """Return what of the waveforms (N, T) is active."""
    return activity(*frame_energy(waves))


def noise_gains(speech: Activity, noise: Activity, snr_db: Tensor) -> Tensor:
    """Return the (N,) float64 factors that bring noise to a signal-to-noise ratio below speech, level to active level.

    0 where either is silent: nothing is added, and the caller says so.

    Args:
        speech: of N waveforms.
        noise: of N waveforms.
        snr_db: (N,) ratio of the active levels.
    """
    wanted = speech.power * 10.0 ** (-snr_db.double() / 10.0)
    audible = (speech.power > 0.0) & (noise.power > 0.0)
    return torch.where(audible, (wanted / noise.power.clamp(min=torch.finfo(torch.float64).tiny)).sqrt(), 0.0)
