"""What every network on spectral features shares: the front-end before it, and which frames are a recording's own."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from voxanchor.audio.snr import USUAL_LEVEL_DB
from voxanchor.errors import ModelError
from voxanchor.models.frontend import DecibelFbankConfig, FrontEnd, FrontEndConfig, make_front_end
from voxanchor.models.layers import frame_mask
from voxanchor.models.level import InputConfig


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
