"""What networks share: waveforms brought to one level, a front-end, and which frames are a recording's own.

The gain of a microphone says nothing about who speaks. A network whose features move with the level takes it for a part
of the voice all the same: GE2E accepts two strangers who are both recorded quietly. So the level is taken away before
such a network, inside the model, where training, evaluation, use and an exported file have it alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.audio.snr import USUAL_LEVEL_DB, activity, frame_energy, high_pass_batch
from voxanchor.errors import ModelError
from voxanchor.models.frontend import DecibelFbankConfig, FrontEnd, FrontEndConfig, make_front_end
from voxanchor.models.layers import frame_mask


@dataclass(frozen=True)
class InputConfig:
    """What a network's input is brought to.

    Attributes:
        level_db: active level of every recording in dB relative to full scale; None leaves it as it comes.
        high_pass: take out DC and drift (`voxanchor.audio.snr.high_pass`), for front-ends that do not.

    Raises:
        ModelError: a level that no waveform of full scale 1 has.
    """

    level_db: float | None = None
    high_pass: bool = False

    def __post_init__(self) -> None:
        if self.level_db is not None and not -100.0 <= self.level_db <= 0.0:
            raise ModelError(f"input: a level_db of {self.level_db} dB is none that speech can be brought to")

    def __str__(self) -> str:
        """Say it in a sentence for a model card."""
        if self.level_db is None:
            return (
                "DC and drift are taken out of a recording." if self.high_pass else "A recording is heard as it comes."
            )
        filtered = "DC and drift are taken out, and a" if self.high_pass else "A"
        return f"{filtered} recording is brought to an active level of {self.level_db:g} dB of full scale."


AS_IT_COMES = InputConfig()
"""How models heard before there was a choice."""


GAINS_DB = (-60.0, -40.0, 10.0)
"""Gains within which no recording's embedding may change: those of quiet microphones and of loud ones."""

OFFSET = 0.1
"""DC offset, in full scales, that may not change one either, however quiet the sound beside it."""

SAME_SHARE = 0.02
"""What a gain or an offset may move an embedding, as a share of the distance to that of another sound."""

_ROUNDING = 1e-5
"""Cosine distance that is within arithmetic, for networks to whom all sounds are nearly alike."""


def wanted_by(embed: Callable[[Tensor], Tensor], samples: int) -> InputConfig:
    """Return what a network needs that nothing is known of: it hears the same sound louder, softer and with an offset.

    How much an embedding may move is measured by how far apart the network holds two sounds, because a cosine alone
    says nothing: to an untrained one all sounds are alike.

    Args:
        embed: embeddings (B, D) of waveforms (B, T), at the network's own rate.
        samples: length of a recording that it accepts.
    """
    sound, other = (_like_speech(samples, seed) for seed in (0, 1))
    gains = [10.0 ** (gain_db / 20.0) for gain_db in (0.0, *GAINS_DB)]
    usual, *moved = heard = [embed(gain * sound) for gain in gains]

    def distance(one: Tensor, two: Tensor) -> float:
        return 1.0 - float(F.cosine_similarity(one, two).sum())

    allowed = max(SAME_SHARE * distance(usual, embed(other)), _ROUNDING)
    # not ">": an embedding that is not finite has moved as well
    by_gain = any(not distance(usual, embedding) <= allowed for embedding in moved)
    # beside the same sound at the same gain, so that the offset alone counts: it weighs most where the sound is quiet
    by_offset = any(
        not distance(embedding, embed(gain * sound + OFFSET)) <= allowed
        for gain, embedding in zip(gains, heard, strict=True)
    )
    return InputConfig(USUAL_LEVEL_DB if by_gain else None, high_pass=by_offset)


def _like_speech(samples: int, seed: int) -> Tensor:
    """Return (1, samples) of noise in syllables whose spectrum falls as that of speech does, another for each seed."""
    draw = torch.Generator().manual_seed(seed)
    syllables = torch.rand(1, samples // 800 + 1, generator=draw).repeat_interleave(800, dim=1)[:, :samples]
    spectrum = torch.fft.rfft(torch.randn(1, samples, generator=draw))
    frequency = torch.arange(spectrum.shape[1]) / spectrum.shape[1]  # as a share of half the rate
    formants = 1.0 + 0.8 * torch.cos((20.0 + 17.0 * seed) * frequency)  # elsewhere for each seed: another voice
    wave: Tensor = syllables * torch.fft.irfft(spectrum * formants / (frequency + 0.02), n=samples)
    scaled: Tensor = 0.1 * wave / wave.square().mean().sqrt()
    return scaled


def normalise(waves: Tensor, lengths: Tensor | None, config: InputConfig) -> Tensor:
    """Return the waveforms (B, T) as the network is to hear them.

    A recording's level is that of its active frames (`voxanchor.audio.snr.active_level_db`), so pauses do not count,
    and whatever the gain was, the result is the same. Digital silence stays what it is.

    Args:
        waves: (B, T) float.
        lengths: (B,) int64 samples of each; what lies behind has no part in its level. All of T when absent.
        config: what to do.
    """
    if config == AS_IT_COMES:
        return waves
    with torch.autocast(waves.device.type, enabled=False):
        filtered = high_pass_batch(waves, lengths)
        heard = filtered if config.high_pass else waves
        return heard if config.level_db is None else heard * _gain(waves, lengths, filtered, config.level_db)


@torch.no_grad()
def _gain(waves: Tensor, lengths: Tensor | None, filtered: Tensor, level_db: float) -> Tensor:
    """Return the (B, 1) factors that bring recordings to a level; 1 for silence."""
    # Measured at a peak of 1: squares of very quiet sound would fall below what float32 can hold.
    peak = filtered.abs().amax(dim=1, keepdim=True)
    scale = torch.where(peak > 0.0, peak, torch.ones_like(peak)).reciprocal()
    energy, samples = frame_energy(waves * scale, lengths, filtered * scale, waves.dtype)
    power = activity(energy, samples).power.unsqueeze(1)
    gain = 10.0 ** (level_db / 20.0) * scale / power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()
    return torch.where(power > 0.0, gain, torch.ones_like(gain))


# What every network on spectral features shares: the front-end before it, and which frames are a recording's own.


class Backbone(nn.Module, ABC):
    """A front-end and a network over its frames: waveforms to embeddings (not normalised).

    In eval mode a recording of a padded batch gets the embedding that it gets alone: `encode` must let nothing past a
    recording's end through. In training mode recordings must have equal lengths: padding would enter the statistics of
    batch normalisation.

    Args:
        fbank: the front-end.
        embedding_dim: D.
    """

    MIN_SAMPLES = 4_800
    """0.3 s, more than the frames that these networks look around."""

    def __init__(self, fbank: FrontEndConfig, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.fbank: FrontEnd = make_front_end(fbank)
        # Kaldi's filter bank takes the mean of every frame away, SpeechBrain's does not.
        self.WANTED_INPUT = InputConfig(USUAL_LEVEL_DB, high_pass=isinstance(fbank, DecibelFbankConfig))
        # Gain adds a constant to logarithms, which the mean takes away; what is left is the floor of digital silence.
        self.HEARS_LEVEL = not fbank.mean_normalise

    def forward(
        self, waves: Tensor, lengths: Tensor | None = None, with_frames: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return embeddings (B, D) float32 of `waves` (B, T); `lengths` (B,) int64 only where they differ from T.

        With `with_frames` return also the frames that the pooling sees, (B, F, C).

        Raises:
            ModelError: lengths in training mode.
        """
        if self.training and lengths is not None:
            raise ModelError(
                "in training every crop of a batch must have the same length; padding would enter batch norm"
            )
        features, frames = self.fbank(waves, lengths)
        mask = None if lengths is None else frame_mask(frames, features.shape[1])
        embeddings, outputs = self.encode(features, mask)
        return (embeddings.float(), outputs) if with_frames else embeddings.float()

    @abstractmethod
    def encode(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and the frames that the pooling sees, (B, F', C).

        Args:
            features: (B, F, M) of the front-end, normalised as it does; anything finite outside `mask`.
            mask: (B, F, 1) bool, each recording's own frames; all of them when absent.
        """
