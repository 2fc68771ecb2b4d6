"""Spectral front-ends: Kaldi's filter banks, log-mel and dB-mel, as convolutions."""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.layers import apply_mask, frame_mask, is_exporting, masked_mean
from voxanchor.types import SAMPLE_RATE, FloatArray

Window: TypeAlias = Literal["povey", "hamming", "hann", "blackman", "rectangular"]


@dataclass(frozen=True)
class Analysis:
    """What becomes of a frame of L samples before its power is taken; all of it is linear.

    Attributes:
        window: (L,) weights of the samples, last in the order.
        n_fft: length of the Fourier transform, zeros behind the frame.
        preemphasis: coefficient c of ``x[i] - c x[i-1]``, with ``x[-1] = x[0]``.
        centred: whether the frame's mean is removed first.
        scale: factor on the samples.
    """

    window: FloatArray
    n_fft: int
    preemphasis: float = 0.0
    centred: bool = False
    scale: float = 1.0

    def matrix(self) -> FloatArray:
        """Return all but the removal of the mean, (2 K, L): K = n_fft // 2 + 1 real parts, then the imaginary ones."""
        matrix: FloatArray = self.scale * dft(self.window, self.n_fft) @ preemphasis(len(self.window), self.preemphasis)
        return matrix


def symmetric_window(name: Window, length: int) -> FloatArray:
    """Return a symmetric analysis window, (length,), as Kaldi defines it (``feature-window.cc``)."""
    phase = 2.0 * np.pi * np.arange(length) / (length - 1)
    hann = 0.5 - 0.5 * np.cos(phase)
    windows: dict[Window, FloatArray] = {
        "povey": hann**0.85,
        "hamming": 0.54 - 0.46 * np.cos(phase),
        "hann": hann,
        "blackman": 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2.0 * phase),
        "rectangular": np.ones(length),
    }
    return windows[name]


def dft(window: FloatArray, n_fft: int) -> FloatArray:
    """Return the windowed, zero-padded real DFT as a matrix, (2 * (n_fft // 2 + 1), len(window)).

    The first half of the rows gives the real parts of bins 0 .. n_fft // 2, the second half the imaginary ones.
    """
    # Reducing the product modulo n_fft keeps the angles, hence the rows, exact to the last digit.
    turns = np.outer(np.arange(n_fft // 2 + 1), np.arange(len(window))) % n_fft
    angles = 2.0 * np.pi * turns / n_fft
    return np.concatenate([np.cos(angles), -np.sin(angles)]) * window


def preemphasis(length: int, coefficient: float) -> FloatArray:
    """Return the matrix, (length, length), of ``y[i] = x[i] - c x[i-1]`` in a frame, with ``y[0] = (1 - c) x[0]``."""
    matrix = np.eye(length) - coefficient * np.eye(length, k=-1)
    matrix[0, 0] = 1.0 - coefficient
    return matrix


def kaldi_mel(n_mels: int, n_fft: int, sample_rate: int, low_hz: float, high_hz: float) -> FloatArray:
    """Return Kaldi's mel filters, (n_mels, n_fft // 2 + 1): triangles of height 1, straight on the mel scale.

    The scale is ``1127 ln(1 + f / 700)``. As in Kaldi (``mel-computations.cc``), the Nyquist bin has no weight.
    """
    mels = _kaldi_mel(np.arange(n_fft // 2 + 1) * sample_rate / n_fft)
    edges = np.linspace(_kaldi_mel(np.float64(low_hz)), _kaldi_mel(np.float64(high_hz)), n_mels + 2)
    weights = _triangles(mels, edges)
    weights[:, -1] = 0.0
    return weights


def slaney_mel(n_mels: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Return the mel filters of Slaney's Auditory Toolbox, (n_mels, n_fft // 2 + 1), from 0 Hz to Nyquist.

    Triangles straight in Hz, each of area 1 (height ``2 / width``), on a scale linear below 1 kHz (3 mels per 200 Hz)
    and logarithmic above (27 mels per factor of 6.4).
    """
    nyquist_mel = 15.0 + 27.0 * np.log(sample_rate / 2000.0) / np.log(6.4)
    mels = np.linspace(0.0, nyquist_mel, n_mels + 2)
    edges = np.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * 6.4 ** ((mels - 15.0) / 27.0))
    weights = _triangles(np.arange(n_fft // 2 + 1) * sample_rate / n_fft, edges)
    return weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def symmetric_mel(n_mels: int, n_fft: int, sample_rate: int) -> FloatArray:
    """Return mel filters of one half-width each, (n_mels, n_fft // 2 + 1), from 0 Hz to Nyquist.

    Triangles of height 1, straight in Hz and as wide above their centre as below it, where they begin at the centre
    before; the centres are evenly spaced on the scale ``2595 log10(1 + f / 700)``.
    """
    edges = 700.0 * np.expm1(np.linspace(0.0, np.log1p(sample_rate / 2 / 700.0), n_mels + 2))
    centres, half_widths = edges[1:-1, None], np.diff(edges)[:-1, None]
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    return np.maximum(0.0, 1.0 - np.abs(hz - centres) / half_widths)


def _kaldi_mel(hz: FloatArray | np.float64) -> FloatArray:
    return np.asarray(1127.0 * np.log1p(hz / 700.0), dtype=np.float64)


def _triangles(positions: FloatArray, edges: FloatArray) -> FloatArray:
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (positions - left) / (centre - left)
    falling = (right - positions) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


# Mel power spectra: the part that every spectral front-end shares.

DOUBLES = ("cpu", "cuda")
"""Devices that compute in float64."""

_PIECE_FRAMES = 512
"""Frames transformed at once on a processor: what they become on the way, 2 MB at a time, stays in a core's cache."""


class MelSpectrum(nn.Module):
    """Mel power spectrum of waveforms.

    By the fast Fourier transform; or, in a network that is being compiled or exported, by a matrix product into which
    all that is linear but the mean is folded, a square and another product: the same numbers from operations that every
    runtime has.

    The matrices are constants of the configuration, so they are not part of the `state_dict`. Autocast changes nothing:
    squared spectra overflow half precision. The transform computes in float64, because in float32 the faintest of the
    bins of real speech come out up to 0.3 % off, which those of the product do not.

    Args:
        analysis: from a frame of L samples to K frequency bins.
        mel_filters: (M, K) non-negative weights.
        hop_samples: samples from one frame to the next.
    """

    kernel: Tensor
    folded_filters: Tensor
    filters: Tensor
    window: Tensor

    def __init__(self, analysis: Analysis, mel_filters: FloatArray, hop_samples: int) -> None:
        super().__init__()
        self.analysis = analysis
        # Bins without weight in any filter need not be computed; real and imaginary parts have equal weights.
        used = np.asarray(mel_filters.any(axis=0))
        kernel = torch.from_numpy(analysis.matrix()[np.tile(used, 2)]).float().contiguous()
        self.first, self.last = int(np.argmax(used)), used.size - int(np.argmax(used[::-1]))
        filters = torch.from_numpy(mel_filters[:, self.first : self.last]).float().contiguous()
        twice = torch.from_numpy(np.tile(mel_filters[:, used], 2)).float().contiguous()
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("folded_filters", twice, persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        # in two parts, because not every device that a model may be moved to can hold float64
        window = torch.from_numpy(analysis.scale * analysis.window)
        self.register_buffer(
            "window", torch.stack([window.float(), (window - window.float()).float()]), persistent=False
        )
        self.hop_samples = hop_samples

    def forward(self, waves: Tensor) -> Tensor:
        """Return the mel power spectra, (B, F, M), of waveforms (B, T): F = 1 + (T - L) // hop_samples frames."""
        with torch.autocast(waves.device.type, enabled=False):
            if is_exporting() or torch.compiler.is_compiling() or waves.device.type not in DOUBLES:
                return self.folded(waves)
            total = 1 + (waves.shape[1] - self.window.shape[1]) // self.hop_samples
            most = _PIECE_FRAMES if waves.device.type == "cpu" else len(waves) * total
            together = max(1, most // total)
            batches = (waves[start : start + together] for start in range(0, len(waves), together))
            return torch.cat([self._stretches(rows, total, most) for rows in batches])

    def _stretches(self, waves: Tensor, total: int, most: int) -> Tensor:
        """Return the spectra of a few recordings, which have `total` frames each, `most` frames after the other."""
        spectra = []
        for first in range(0, total, most):
            last = min(first + most, total) - 1
            end = last * self.hop_samples + self.window.shape[1]
            spectra.append(self._transformed(waves[:, first * self.hop_samples : end].double()))
        return torch.cat(spectra, dim=1)

    def _transformed(self, waves: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(self._frames(waves), self.analysis.n_fft)[..., self.first : self.last]
        power = (spectrum.real.square() + spectrum.imag.square()).float()
        mel: Tensor = power @ self.filters.T
        return mel

    def folded(self, waves: Tensor) -> Tensor:
        """Return the same by one product of the frames with a matrix.

        The mean is taken from each frame before the product: folded into the matrix, rounding would leave so much of an
        offset that a stretch without sound is heard.
        """
        frames = self._blocks(waves.float())
        if self.analysis.centred:
            frames = frames - frames.mean(dim=2, keepdim=True)
        parts = frames @ self.kernel.T
        mel: Tensor = parts.square() @ self.folded_filters.T
        return mel

    def _blocks(self, waves: Tensor) -> Tensor:
        """Return (B, F, L) frames, put together from stretches of a hop, which every runtime can do."""
        length, hop = self.window.shape[1], self.hop_samples
        total = 1 + (waves.shape[1] - length) // hop
        whole, rest = length // hop, length % hop
        padded = F.pad(waves, (0, hop))
        stretches = padded[:, : (total + whole) * hop].reshape(waves.shape[0], total + whole, hop)
        # narrowed, not sliced: an exporter knows the length of what is left
        parts = [stretches.narrow(1, place, total) for place in range(whole)]
        if rest:
            parts.append(stretches.narrow(1, whole, total)[:, :, :rest])
        return torch.cat(parts, dim=2)

    def _frames(self, waves: Tensor) -> Tensor:
        """Return (B, F, L) frames, ready to be transformed; without a copy more than it takes."""
        window = self.window.double().sum(dim=0)
        length, coefficient = len(window), self.analysis.preemphasis
        raw = waves.unfold(1, length, self.hop_samples)
        if not coefficient:
            frames = raw * window
        else:
            # before framing, which repeats most samples; the first of a frame has none before it
            frames = (waves - coefficient * F.pad(waves, (1, 0))[:, :-1]).unfold(1, length, self.hop_samples)
            frames = frames * window
            frames[:, :, 0] = raw[:, :, 0] * ((1.0 - coefficient) * window[0])
        if self.analysis.centred:
            frames = frames.addcmul_(raw.mean(dim=2, keepdim=True), (coefficient - 1.0) * window)
        return frames


# Kaldi-compatible log-mel filter bank, waveform in, features out.


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


# SpeechBrain's log-mel filter bank, in decibels, waveform in, features out.


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


# The front-ends that a network may hear through, one type of settings for each.

FrontEndConfig: TypeAlias = FbankConfig | DecibelFbankConfig
"""Settings of a front-end; their keys tell which."""


class FrontEnd(Protocol):
    """Waveforms to features."""

    def __call__(self, waves: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return features (B, F, M) float32 and the number of frames of each recording, (B,) int64.

        Frames past a recording's own end are 0, and nothing past it has a part in the others.
        """
        ...


def make_front_end(config: FrontEndConfig) -> Fbank | DecibelFbank:
    """Return the front-end that has these settings.

    Raises:
        ModelError: settings that no filter bank can have.
    """
    return DecibelFbank(config) if isinstance(config, DecibelFbankConfig) else Fbank(config)
