"""Mel power spectra: the part that every spectral front-end shares."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.filterbank import Analysis
from voxanchor.models.tracing import is_exporting
from voxanchor.types import FloatArray

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
