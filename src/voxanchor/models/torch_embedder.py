"""A torch encoder as what a verifier needs: arrays in, arrays out."""

import numpy as np
import torch
from numpy.typing import NDArray

from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.types import Embeddings, IntArray


class TorchEmbedder:
    """An encoder in evaluation mode. Several threads may use one at once.

    Args:
        encoder: what embeds; it is moved to the device.
        device: where it computes; where it lies by default.

    Attributes:
        encoder: what embeds; must not be trained meanwhile.
        fingerprint: its fingerprint when this was made; computing one reads every weight.
        embedding_dim: D.
        min_samples: length of the shortest recording that can be embedded.
        hears_level: whether gain changes an embedding.
        device: where it computes, in torch's words.
    """

    def __init__(self, encoder: SpeakerEncoder, device: torch.device | None = None) -> None:
        self.fingerprint = encoder.fingerprint  # before the weights move: it reads each of them on the host
        self.encoder = (encoder if device is None else encoder.to(device)).eval()
        self.device = str(next(self.encoder.parameters()).device)
        self.embedding_dim = encoder.embedding_dim
        self.min_samples = encoder.min_samples
        self.hears_level = encoder.hears_level

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        """Return (B, D) float32 unit vectors in the host's memory, computed where the encoder lies.

        Args:
            waves: (B, T) float32 at 16 kHz; what lies behind a recording's length is not heard.
            lengths: (B,) int64 samples of each recording.

        Raises:
            AudioError: a recording shorter than `min_samples`.
            ModelError: shapes that do not fit.
        """
        device = next(self.encoder.parameters()).device
        with torch.no_grad():
            found = self.encoder(torch.from_numpy(waves).to(device), torch.from_numpy(lengths))
        embeddings: Embeddings = found.float().cpu().numpy()
        return embeddings
