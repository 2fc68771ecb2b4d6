"""Noise made without recordings, as varied as a few pages of code can make it."""

import numpy as np

from voxanchor.audio.clips import digest
from voxanchor.audio.level import active_level_db
from voxanchor.audio.noise import COLOURS, NOISE_RMS, coloured
from voxanchor.audio.sources import Noise
from voxanchor.audio.textures import TEXTURES
from voxanchor.errors import CorpusError
from voxanchor.types import Waveform

_VERSION = 1
_LAYERED_SHARE = 0.4


class SyntheticNoise:
    """Environmental-like noise: stationary colours and time-varying textures, alone or one over another.

    Stands in where no recordings are at hand; recorded noise is better.

    Args:
        kinds: names of colours and textures to draw from; None for all. Leaving some out keeps them for evaluation.

    Raises:
        CorpusError: an unknown kind, or none.
    """

    KINDS: tuple[str, ...] = (*COLOURS, *TEXTURES)

    def __init__(self, kinds: tuple[str, ...] | None = None) -> None:
        self.kinds = self.KINDS if kinds is None else tuple(kinds)
        unknown = [kind for kind in self.kinds if kind not in self.KINDS]
        if unknown or not self.kinds:
            raise CorpusError(f"no synthetic noise {unknown or 'without a kind'}: choose among {', '.join(self.KINDS)}")

    def draw(
        self,
        length: int,
        generator: np.random.Generator,
        exclude: frozenset[str] = frozenset(),  # noqa: ARG002
    ) -> Noise:
        """Return noise at an active level of -20 dBFS described by its kinds; nobody is heard in it (see `exclude`)."""
        kind = self._kind(generator)
        waveform, description = self._one(kind, length, generator), kind
        if generator.random() < _LAYERED_SHARE:
            other = self._kind(generator)
            balance = np.float32(10.0 ** (generator.uniform(-12.0, 0.0) / 20.0))
            waveform = waveform + balance * self._one(other, length, generator)
            description = f"{kind} over {other}"
        return Noise(_levelled(waveform), f"synthetic {description}")

    def _kind(self, generator: np.random.Generator) -> str:
        return self.kinds[int(generator.integers(len(self.kinds)))]

    def _one(self, kind: str, length: int, generator: np.random.Generator) -> Waveform:
        if kind in TEXTURES:
            return _levelled(TEXTURES[kind](length, generator))
        return coloured(kind, length, generator)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the kinds and the version of their recipes."""
        return digest("synthetic noise", _VERSION, self.kinds)

    @property
    def summary(self) -> str:
        """The kinds."""
        return f"synthetic, {', '.join(self.kinds)}"


def _levelled(waveform: Waveform) -> Waveform:
    return waveform * np.float32(NOISE_RMS / 10.0 ** (active_level_db(waveform) / 20.0))
