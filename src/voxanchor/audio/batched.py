"""Levels and mixing of many waveforms at once, in torch, on whatever device they lie on.

The same definitions as `voxanchor.audio.level` and `voxanchor.audio.mix`, which work on one waveform at a time and are
what these are tested against.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from voxanchor.audio.level import ACTIVITY_MARGIN_DB, AVERAGED_SAMPLES, FRAME_SAMPLES, SnrLevels

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


def high_pass(waves: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return waves (N, T) without DC and drift, of their dtype, as `voxanchor.audio.level.high_pass` does.

    Args:
        waves: (N, T) floating point.
        lengths: (N,) int64 samples of each; what lies behind them has no part in anything and comes out as 0. All of T
            when absent.
    """
    half, total = AVERAGED_SAMPLES // 2, waves.shape[1]
    at = torch.arange(total, device=waves.device)
    ends = at.new_full((1, 1), total) if lengths is None else lengths.unsqueeze(1)
    width = (torch.minimum(at + half + 1, ends) - (at - half).clamp(min=0)).clamp(min=1).to(waves.dtype)
    own = None if lengths is None else at < ends

    def average(x: Tensor) -> Tensor:
        sums = F.pad(x.cumsum(dim=1), (1, 0))
        last = torch.cat([sums[:, half + 1 :], sums[:, -1:].expand(-1, half)], dim=1)[:, :total]
        first = F.pad(sums, (half, 0))[:, :total]
        mean = (last - first) / width
        return mean if own is None else mean * own

    x = waves if own is None else waves.masked_fill(~own, 0.0)
    # The mean goes first: the sums of a wave with DC would outgrow the precision of float32.
    x = x - x.sum(dim=1, keepdim=True) / ends.clamp(min=1).to(x.dtype)
    x = x if own is None else x * own
    return x - average(average(x))


def frame_energy(
    waves: Tensor, lengths: Tensor | None = None, heard: Tensor | None = None, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return the energy (N, F) and the number of samples, (F,) or (N, F), of the 20 ms frames of `waves` (N, T).

    Args:
        waves: (N, T) floating point.
        lengths: (N,) int64 samples of each; all of T when absent.
        heard: what `high_pass` makes of the waves, where it is known.
        dtype: of both results.
    """
    total = waves.shape[1]
    frames = (total + FRAME_SAMPLES - 1) // FRAME_SAMPLES
    starts = torch.arange(frames, device=waves.device) * FRAME_SAMPLES
    heard = high_pass(waves, lengths) if heard is None else heard
    if lengths is None:
        counts, last = (total - starts).clamp(max=FRAME_SAMPLES), waves[:, -1:]
    else:
        ends = lengths.unsqueeze(1)
        own = torch.arange(total, device=waves.device) < ends
        counts, last = (ends - starts).clamp(min=0, max=FRAME_SAMPLES), waves.gather(1, (ends - 1).clamp(min=0))
        waves, heard = torch.where(own, waves, last), heard.masked_fill(~own, 0.0)

    def framed(x: Tensor, end: Tensor) -> Tensor:
        filled = torch.cat([x, end.expand(-1, frames * FRAME_SAMPLES - total)], dim=1)
        return filled.reshape(x.shape[0], frames, FRAME_SAMPLES)

    energy = torch.linalg.vector_norm(framed(heard, torch.zeros_like(last)), dim=2).to(dtype).square()
    # The filter smears sound by up to 50 ms into the silence beside it, which stays silence.
    raw = framed(waves, last)
    return energy.masked_fill(raw.amax(dim=2) == raw.amin(dim=2), 0.0), counts.to(dtype)


def activity(energy: Tensor, samples: Tensor) -> Activity:
    """Return what of N waveforms is active, by the fixed point of `voxanchor.audio.level.active_level_db`.

    The definition takes the mean power of all frames, leaves out those too far below it, and begins anew with the rest
    until nothing more is left out. Frames are left out from the quietest on, so what stays are always the k loudest,
    and the fixed point that is reached from all of them is the largest k whose quietest frame may stay beside the mean
    of the k. Found this way it takes the same steps for every sound, which an exported graph needs.

    Args:
        energy: (N, F) energy of every frame.
        samples: (F,) or (N, F) samples of every frame.
    """
    samples = samples.expand_as(energy)
    power = energy / samples.clamp(min=1.0)
    order = power.argsort(dim=1, descending=True)
    means = energy.gather(1, order).cumsum(dim=1) / samples.gather(1, order).cumsum(dim=1).clamp(min=1.0)
    stays = power.gather(1, order) > means * _RATIO
    count = (stays * torch.arange(1, energy.shape[1] + 1, device=energy.device)).amax(dim=1, keepdim=True)
    least = means.gather(1, (count - 1).clamp(min=0)) * _RATIO
    active = power > least
    heard = (active * samples).sum(dim=1)
    return Activity((energy * active).sum(dim=1) / heard.clamp(min=1.0), heard.long())


def measure(waves: Tensor, *, filtered: bool = False, snr: SnrLevels = "active") -> Activity:
    """Return what of the waveforms (N, T) is active; `filtered` where they went through `high_pass` already.

    With `snr` ``whole`` all of their samples count, pauses as well.
    """
    energy, samples = frame_energy(waves, heard=waves if filtered else None)
    if snr == "active":
        return activity(energy, samples)
    counted = samples.sum(dim=-1).expand(len(waves))
    return Activity(energy.sum(dim=1) / counted, counted.long())


def noise_gains(speech: Activity, noise: Activity, snr_db: Tensor) -> Tensor:
    """Return the (N,) float64 factors that bring noise to a signal-to-noise ratio below speech, level to level.

    0 where either is silent: nothing is added, and the caller says so.

    Args:
        speech: of N waveforms.
        noise: of N waveforms.
        snr_db: (N,) ratio of the levels as `measure` took them.
    """
    wanted = speech.power * 10.0 ** (-snr_db.double() / 10.0)
    audible = (speech.power > 0.0) & (noise.power > 0.0)
    return torch.where(audible, (wanted / noise.power.clamp(min=torch.finfo(torch.float64).tiny)).sqrt(), 0.0)
