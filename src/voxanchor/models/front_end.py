"""The front-ends that a network may hear through, one type of settings for each."""

from typing import Protocol, TypeAlias

from torch import Tensor

from voxanchor.models.decibel_fbank import DecibelFbank, DecibelFbankConfig
from voxanchor.models.fbank import Fbank, FbankConfig

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
