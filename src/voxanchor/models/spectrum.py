"""Mel power spectra as one convolution: the part that every spectral front-end shares."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.types import FloatArray


class MelSpectrum(nn.Module):
    """Mel power spectrum of waveforms by one conv1d, a square and a matrix product.

    The matrices are constants of the configuration, so they are not part of the `state_dict`. The arithmetic stays in
    float32 under autocast: squared spectra overflow half precision.

    Args:
        frame_transform: (2 K, L) matrix from a frame of L samples to the real (first K rows) and imaginary (last K)
            parts of K frequency bins.
        mel_filters: (M, K) non-negative weights.
        hop_samples: samples from one frame to the next.
    """

    kernel: Tensor
    filters: Tensor

    def __init__(self, frame_transform: FloatArray, mel_filters: FloatArray, hop_samples: int) -> None:
        super().__init__()
        # Bins without weight in any filter need not be computed; real and imaginary parts have equal weights.
        used = np.tile(mel_filters.any(axis=0), 2)
        kernel = torch.from_numpy(frame_transform[used]).float().unsqueeze(1).contiguous()
        filters = torch.from_numpy(np.tile(mel_filters, 2)[:, used]).float().contiguous()
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        self.hop_samples = hop_samples

    def forward(self, waves: Tensor) -> Tensor:
        """Return the mel power spectra, (B, M, F), of waveforms (B, T): F = 1 + (T - L) // hop_samples frames."""
        with torch.autocast(waves.device.type, enabled=False):
            parts = F.conv1d(waves.float().unsqueeze(1), self.kernel, stride=self.hop_samples)
            return self.filters @ parts.square()
