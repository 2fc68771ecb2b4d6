"""SpeechBrain's log-mel filter bank, in decibels, waveform in, features out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.filterbank import Analysis, symmetric_mel
from voxanchor.models.masks import apply_mask, frame_mask, masked_mean
from voxanchor.models.spectrum import MelSpectrum
from voxanchor.types import SAMPLE_RATE


@dataclass(frozen=True)
class DecibelFbankConfig:
    """Settings of `DecibelFbank`; the defaults are those of SpeechBrain's speaker models.

    Attributes:
        top_db: range in dB: what is further under the recording's loudest bin counts as so far. No other front-end has
            this setting, so it tells which one is meant.
        n_mels: mel filters, the dimension of the features.
        mean_normalise: subtract each recording's mean over its frames.
    """

    top_db: float = 80.0
    n_mels: int = 80
    mean_normalise: bool = True


class DecibelFbank(nn.Module):
    """Log-mel filter bank as SpeechBrain 1.x computes it (``lobes.features.Fbank``).

    Frames of 400 samples (25 ms) every 160 (10 ms), centred: zeros lie before the first sample and behind a recording's
    own last one. Periodic Hamming window, mel powers from 0 Hz to Nyquist, neither pre-emphasis nor removal of DC.
    Within 2e-3 dB of SpeechBrain, whose filters are rounded to float32.

    Raises:
        ModelError: settings whose filters are not distinct, or no range.
    """

    FRAME_SAMPLES = 400
    HOP_SAMPLES = 160
    SMALLEST_POWER = 1e-10

    def __init__(self, config: DecibelFbankConfig) -> None:
        super().__init__()
        self.config = config
        if config.n_mels < 1 or not config.top_db > 0.0:
            reason = f"n_mels {config.n_mels}, top_db {config.top_db}"
            raise ModelError(f"filter bank: {reason}: need n_mels >= 1 and top_db > 0")
        filters = symmetric_mel(config.n_mels, self.FRAME_SAMPLES, SAMPLE_RATE)
        if not filters.any(axis=1).all():
            reason = f"some of {config.n_mels} filters are narrower than a frequency bin"
            raise ModelError(f"filter bank: {reason} ({SAMPLE_RATE / self.FRAME_SAMPLES} Hz): ask for fewer")
        phase = 2.0 * np.pi * np.arange(self.FRAME_SAMPLES) / self.FRAME_SAMPLES
        analysis = Analysis(0.54 - 0.46 * np.cos(phase), self.FRAME_SAMPLES)
        self.spectrum = MelSpectrum(analysis, filters, self.HOP_SAMPLES)

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of frames, (B,) int64, of recordings of `lengths` samples."""
        return torch.div(lengths, self.HOP_SAMPLES, rounding_mode="floor") + 1

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mel features in decibels and the number of frames of each recording.

        Args:
            waves: (B, T) float, full scale 1.0, 16 kHz.
            lengths: (B,) int64 samples of each recording; all of T when absent.

        Returns:
            features: (B, F, n_mels) float32, 10 log10 of power (mean-normalised where so configured); frames past a
                recording's own end are 0.
            frames: (B,) int64, the frames of each recording.
        """
        mask = None
        if lengths is not None:
            waves = waves.masked_fill(~frame_mask(lengths, waves.shape[1]).squeeze(2), 0.0)
        beside = self.FRAME_SAMPLES // 2
        mel = self.spectrum(F.pad(waves, (beside, beside)))
        with torch.autocast(waves.device.type, enabled=False):
            features = 10.0 * mel.clamp(min=self.SMALLEST_POWER).log10()
            if lengths is None:
                frames = torch.full(waves.shape[:1], features.shape[1], device=waves.device)
            else:
                frames = self.frames(lengths)
                mask = frame_mask(frames, features.shape[1])
            # frames past the end hear the last samples at most, but might be the loudest
            own = features if mask is None else features.masked_fill(~mask, -torch.inf)
            features = features.maximum(own.amax(dim=(1, 2), keepdim=True) - self.config.top_db)
            if self.config.mean_normalise:
                features = features - masked_mean(features, mask)
            return apply_mask(features, mask), frames
