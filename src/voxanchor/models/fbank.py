"""Kaldi-compatible log-mel filter bank, waveform in, features out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from voxanchor.errors import ModelError
from voxanchor.models.filterbank import Analysis, Window, kaldi_mel, symmetric_window
from voxanchor.models.masks import apply_mask, frame_mask, masked_mean
from voxanchor.models.spectrum import MelSpectrum
from voxanchor.types import SAMPLE_RATE


@dataclass(frozen=True)
class FbankConfig:
    """Settings of `Fbank`; the defaults are those of ECAPA-TDNN recipes on 16 kHz speech.

    Attributes:
        n_mels: mel filters, the dimension of the features.
        window: analysis window; Kaldi's own default is ``povey``.
        low_hz: lower edge of the first filter.
        high_hz: upper edge of the last filter; 0 stands for Nyquist.
        preemphasis: coefficient c of ``x[i] - c x[i-1]``.
        scale: factor on waveforms of full scale 1.0; 32768 gives the 16-bit values that Kaldi computes with.
        mean_normalise: subtract each recording's mean over its frames, which removes a constant channel and the level.
    """

    n_mels: int = 80
    window: Window = "hamming"
    low_hz: float = 20.0
    high_hz: float = 0.0
    preemphasis: float = 0.97
    scale: float = 32768.0
    mean_normalise: bool = True


class Fbank(nn.Module):
    """Log-mel filter bank as Kaldi computes it (``compute-fbank-feats``, dither 0, frames that fit only).

    Pre-emphasis and window are linear, as the Fourier transform is; where a network is exported they are all folded
    into one product with the frames of 400 samples (25 ms), 160 (10 ms) apart, less their mean. Within 1e-3 of
    kaldi-native-fbank, but for the faintest bins of real speech, where that one's own rounding reaches 1.3e-3.

    Raises:
        ModelError: a configuration whose filters are not distinct, such as a band too narrow for `n_mels`.
    """

    FRAME_SAMPLES = 400
    HOP_SAMPLES = 160
    N_FFT = 512

    def __init__(self, config: FbankConfig) -> None:
        super().__init__()
        self.config = config
        nyquist_hz = SAMPLE_RATE / 2
        high_hz = config.high_hz or nyquist_hz
        if config.n_mels < 1 or not 0.0 <= config.low_hz < high_hz <= nyquist_hz:
            reason = f"n_mels {config.n_mels}, low_hz {config.low_hz}, high_hz {high_hz}"
            raise ModelError(f"filter bank: {reason}: need n_mels >= 1 and 0 <= low_hz < high_hz <= {nyquist_hz:.0f}")
        filters = kaldi_mel(config.n_mels, self.N_FFT, SAMPLE_RATE, config.low_hz, high_hz)
        if not filters.any(axis=1).all():
            reason = f"{config.n_mels} filters from {config.low_hz} to {high_hz} Hz are narrower than a frequency bin"
            raise ModelError(f"filter bank: {reason} ({SAMPLE_RATE / self.N_FFT} Hz): ask for fewer or a wider band")
        window = symmetric_window(config.window, self.FRAME_SAMPLES)
        analysis = Analysis(window, self.N_FFT, config.preemphasis, centred=True, scale=config.scale)
        self.spectrum = MelSpectrum(analysis, filters, self.HOP_SAMPLES)

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of frames, (B,) int64, of recordings of `lengths` samples; 0 when shorter than a frame."""
        return torch.div(lengths - self.FRAME_SAMPLES, self.HOP_SAMPLES, rounding_mode="floor").add(1).clamp(min=0)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log-mel features and the number of frames of each recording.

        Args:
            waves: (B, T) float, full scale 1.0, 16 kHz; T at least `FRAME_SAMPLES`.
            lengths: (B,) int64 samples of each recording; all of T when absent.

        Returns:
            features: (B, F, n_mels) float32, natural logarithms of power (mean-normalised where so configured); frames
                past a recording's own end are 0.
            frames: (B,) int64, the frames of each recording.
        """
        mel = self.spectrum(waves)
        with torch.autocast(waves.device.type, enabled=False):
            features = mel.clamp(min=torch.finfo(torch.float32).eps).log()
            mask = None
            if lengths is None:
                frames = torch.full(waves.shape[:1], features.shape[1], device=waves.device)
            else:
                frames = self.frames(lengths)
                mask = frame_mask(frames, features.shape[1])
            if self.config.mean_normalise:
                features = features - masked_mean(features, mask)
            return apply_mask(features, mask), frames
